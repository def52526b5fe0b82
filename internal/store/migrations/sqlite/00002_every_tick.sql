-- +goose Up

-- What was kept before is whole ticks now and then, which can not be decided
-- again one after the other: it goes. Lifetimes, which are money, stay.
DROP TABLE decisions;
DROP TABLE records;
DROP TABLE checkpoint;

-- The newest Memory of the autoscaler: one row, replaced each tick.
CREATE TABLE checkpoint (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    seq    INTEGER NOT NULL, -- of the tick that it is after
    at     INTEGER NOT NULL, -- Unix nanoseconds, as every time here
    memory BLOB NOT NULL     -- zstd
) STRICT;

-- The newest ticks, whole, until they are pressed into a segment.
CREATE TABLE ticks (
    seq    INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    body   BLOB NOT NULL, -- zstd of JSON: Snapshot and Decision
    memory BLOB           -- zstd: Memory before the tick, where a segment begins with it
) STRICT;
CREATE INDEX ticks_at ON ticks (at);

-- Ticks that follow each other, pressed together.
CREATE TABLE segments (
    first  INTEGER PRIMARY KEY, -- seq
    last   INTEGER NOT NULL,
    begun  INTEGER NOT NULL,    -- at of the first and the last
    ended  INTEGER NOT NULL,
    body   BLOB NOT NULL,       -- see pressed.go
    memory BLOB                 -- zstd: Memory before the first; NULL where it was lost
) STRICT;
CREATE INDEX segments_begun ON segments (begun);

-- In which ticks a model's part of the Decision was news.
CREATE TABLE decisions (
    seq   INTEGER NOT NULL,
    model TEXT NOT NULL,
    at    INTEGER NOT NULL,
    gone  INTEGER NOT NULL, -- 1: no news; the model was seen for the last time
    PRIMARY KEY (seq, model)
) STRICT, WITHOUT ROWID;

-- What demand was like and what served it, in stretches of a level's length:
-- 0 a tick, 1 a minute, 2 five minutes, 3 an hour. All but the _most columns
-- are sums, so that stretches add up; what was not measured adds nothing to
-- either the sum or the seconds, requests or replies that it is divided by.
CREATE TABLE history (
    model         TEXT NOT NULL,
    level         INTEGER NOT NULL,
    at            INTEGER NOT NULL, -- when it began
    covered       REAL NOT NULL,    -- seconds
    arrivals      REAL NOT NULL,    -- requests
    arrivals_over REAL NOT NULL,    -- seconds over which they were counted
    prompts       REAL NOT NULL,    -- prompt tokens, of
    prompted      REAL NOT NULL,    -- so many requests
    outputs       REAL NOT NULL,
    output_of     REAL NOT NULL,
    held          REAL NOT NULL,    -- requests × seconds
    held_most     REAL NOT NULL,
    in_flight     REAL NOT NULL,    -- requests × seconds
    seen_over     REAL NOT NULL,    -- seconds over which held and in_flight were seen
    good          REAL NOT NULL,    -- requests
    bad           REAL NOT NULL,
    starting      REAL NOT NULL,    -- replicas × seconds
    ready         REAL NOT NULL,
    draining      REAL NOT NULL,
    batch         REAL NOT NULL,    -- B* × seconds
    batch_over    REAL NOT NULL,
    replies       REAL NOT NULL,    -- requests whose times follow
    ttft          REAL NOT NULL,    -- seconds × replies
    ttft_most     REAL NOT NULL,
    tpot          REAL NOT NULL,
    tpot_most     REAL NOT NULL,
    service       REAL NOT NULL,
    planned       REAL NOT NULL,    -- requests/s, the quantile that was planned for, × seconds
    wanted        REAL NOT NULL,    -- replicas × seconds
    cost          REAL NOT NULL,    -- US dollars
    PRIMARY KEY (model, level, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_at ON history (level, at);

-- +goose Down
DROP TABLE history;
DROP TABLE decisions;
DROP TABLE segments;
DROP TABLE ticks;
DROP TABLE checkpoint;

-- +goose Up

-- The newest Memory of the autoscaler: one row, replaced each tick.
CREATE TABLE checkpoint (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    seq    BIGINT NOT NULL, -- of the tick that it is after
    at     BIGINT NOT NULL, -- Unix nanoseconds, as every time here
    memory BYTEA NOT NULL     -- zstd
);

-- The newest ticks, whole, until they are pressed into a segment.
CREATE TABLE ticks (
    seq    BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL,
    body   BYTEA NOT NULL, -- zstd of JSON: Snapshot and Decision
    memory BYTEA           -- zstd: Memory before the tick, where a segment begins with it
);
CREATE INDEX ticks_at ON ticks (at);

-- Ticks that follow each other, pressed together.
CREATE TABLE segments (
    first  BIGINT PRIMARY KEY, -- seq
    last   BIGINT NOT NULL,
    begun  BIGINT NOT NULL,    -- at of the first and the last
    ended  BIGINT NOT NULL,
    body   BYTEA NOT NULL,       -- see pressed.go
    memory BYTEA                 -- zstd: Memory before the first; NULL where it was lost
);
CREATE INDEX segments_begun ON segments (begun);

-- In which ticks a model's part of the Decision was news.
CREATE TABLE decisions (
    seq   BIGINT NOT NULL,
    model TEXT NOT NULL,
    at    BIGINT NOT NULL,
    gone  BIGINT NOT NULL, -- 1: no news; the model was seen for the last time
    PRIMARY KEY (seq, model)
);

-- What demand was like and what served it, in stretches of a level's length:
-- 0 a tick, 1 a minute, 2 five minutes, 3 an hour. All but the _most columns
-- are sums, so that stretches add up; what was not measured adds nothing to
-- either the sum or the seconds, requests or replies that it is divided by.
CREATE TABLE history (
    model         TEXT NOT NULL,
    level         BIGINT NOT NULL,
    at            BIGINT NOT NULL, -- when it began
    covered       DOUBLE PRECISION NOT NULL,    -- seconds
    arrivals      DOUBLE PRECISION NOT NULL,    -- requests
    arrivals_over DOUBLE PRECISION NOT NULL,    -- seconds over which they were counted
    prompts       DOUBLE PRECISION NOT NULL,    -- prompt tokens, of
    prompted      DOUBLE PRECISION NOT NULL,    -- so many requests
    outputs       DOUBLE PRECISION NOT NULL,
    output_of     DOUBLE PRECISION NOT NULL,
    held          DOUBLE PRECISION NOT NULL,    -- requests × seconds
    held_most     DOUBLE PRECISION NOT NULL,
    in_flight     DOUBLE PRECISION NOT NULL,    -- requests × seconds
    seen_over     DOUBLE PRECISION NOT NULL,    -- seconds over which held and in_flight were seen
    good          DOUBLE PRECISION NOT NULL,    -- requests
    bad           DOUBLE PRECISION NOT NULL,
    starting      DOUBLE PRECISION NOT NULL,    -- replicas × seconds
    ready         DOUBLE PRECISION NOT NULL,
    draining      DOUBLE PRECISION NOT NULL,
    batch         DOUBLE PRECISION NOT NULL,    -- B* × seconds
    batch_over    DOUBLE PRECISION NOT NULL,
    replies       DOUBLE PRECISION NOT NULL,    -- requests whose times follow
    ttft          DOUBLE PRECISION NOT NULL,    -- seconds × replies
    ttft_most     DOUBLE PRECISION NOT NULL,
    tpot          DOUBLE PRECISION NOT NULL,
    tpot_most     DOUBLE PRECISION NOT NULL,
    service       DOUBLE PRECISION NOT NULL,
    planned       DOUBLE PRECISION NOT NULL,    -- requests/s, the quantile that was planned for, × seconds
    wanted        DOUBLE PRECISION NOT NULL,    -- replicas × seconds
    cost          DOUBLE PRECISION NOT NULL,    -- US dollars
    PRIMARY KEY (model, level, at)
);
CREATE INDEX history_at ON history (level, at);

CREATE TABLE lifetimes (
    replica  TEXT PRIMARY KEY,
    model    TEXT NOT NULL,
    variant  TEXT NOT NULL,
    capacity TEXT NOT NULL,
    price    DOUBLE PRECISION NOT NULL, -- US dollars per hour
    created  BIGINT NOT NULL,
    ready    BIGINT,                    -- NULL: has not happened
    drained  BIGINT,
    ended    BIGINT,
    busy     BIGINT NOT NULL            -- nanoseconds
);
CREATE INDEX lifetimes_ended ON lifetimes (ended);

-- Who writes: a name that every process makes up anew.
CREATE TABLE owner (
    id    BIGINT PRIMARY KEY CHECK (id = 1),
    token TEXT NOT NULL
);

-- Bodies are compressed already, and rows that come and go each second are to
-- be cleared away soon.
ALTER TABLE checkpoint ALTER COLUMN memory SET STORAGE EXTERNAL;
ALTER TABLE ticks ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN memory SET STORAGE EXTERNAL;
ALTER TABLE segments ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN memory SET STORAGE EXTERNAL;
ALTER TABLE checkpoint SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 300, toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 600);
ALTER TABLE ticks SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 300, toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 600);
ALTER TABLE history SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- +goose Down
DROP TABLE owner;
DROP TABLE lifetimes;
DROP TABLE history;
DROP TABLE decisions;
DROP TABLE segments;
DROP TABLE ticks;
DROP TABLE checkpoint;

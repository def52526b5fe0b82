-- +goose Up

-- The newest Memory of the autoscaler: one row, replaced each tick.
CREATE TABLE checkpoint (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    at     INTEGER NOT NULL, -- Unix nanoseconds, as every time here
    memory BLOB NOT NULL     -- gzip
) STRICT;

-- Whole ticks: enough to explain one and to decide it again.
CREATE TABLE records (
    seq    INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    body   BLOB NOT NULL, -- gzip of JSON: Snapshot and Decision
    memory BLOB NOT NULL  -- gzip: Memory before the tick
) STRICT;
CREATE INDEX records_at ON records (at);

-- Which record speaks of which model. The body is NULL where the record
-- decided nothing new for the model.
CREATE TABLE decisions (
    model  TEXT NOT NULL,
    at     INTEGER NOT NULL,
    record INTEGER NOT NULL REFERENCES records (seq),
    body   BLOB, -- gzip of JSON: the part of the Decision that concerns the model
    PRIMARY KEY (model, at, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX decisions_record ON decisions (record);
CREATE INDEX decisions_news ON decisions (at) WHERE body IS NOT NULL;

CREATE TABLE lifetimes (
    replica  TEXT PRIMARY KEY,
    model    TEXT NOT NULL,
    variant  TEXT NOT NULL,
    capacity TEXT NOT NULL,
    price    REAL NOT NULL,    -- US dollars per hour
    created  INTEGER NOT NULL,
    ready    INTEGER,          -- NULL: has not happened
    drained  INTEGER,
    ended    INTEGER,
    busy     INTEGER NOT NULL  -- nanoseconds
) STRICT, WITHOUT ROWID;
CREATE INDEX lifetimes_ended ON lifetimes (ended);

-- +goose Down
DROP TABLE lifetimes;
DROP TABLE decisions;
DROP TABLE records;
DROP TABLE checkpoint;

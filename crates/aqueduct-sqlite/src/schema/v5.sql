-- Times are found by position, since they never fall within a partition; the age of completed ids is
-- indexed once they are removed by age.
DROP INDEX aqueduct_segment_time;
DROP INDEX aqueduct_handled_age;

-- What the records of handled events have in common.
CREATE TABLE aqueduct_handled_scope (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,                -- of the group
    handlers TEXT NOT NULL,
    replay INTEGER NOT NULL,
    source TEXT NOT NULL,              -- of the events
    UNIQUE (name, handlers, replay, source)
) STRICT;
INSERT INTO aqueduct_handled_scope (name, handlers, replay, source)
SELECT DISTINCT name, handlers, replay, source FROM aqueduct_handled;

ALTER TABLE aqueduct_handled RENAME TO aqueduct_handled_v4;
CREATE TABLE aqueduct_handled (
    scope INTEGER NOT NULL,            -- in aqueduct_handled_scope
    event TEXT NOT NULL,               -- its id
    completed INTEGER,                 -- when; NULL while it is claimed
    generation INTEGER NOT NULL,       -- this and what follows: of the claim, unset once it is completed
    nonce INTEGER NOT NULL,
    heartbeat INTEGER NOT NULL DEFAULT 0,
    stream TEXT,
    partition TEXT,
    PRIMARY KEY (scope, event)
) STRICT, WITHOUT ROWID;
INSERT INTO aqueduct_handled
SELECT s.id, h.event, h.completed, h.generation, h.nonce, h.heartbeat, h.stream, h.partition
FROM aqueduct_handled_v4 h
JOIN aqueduct_handled_scope s USING (name, handlers, replay, source);
DROP TABLE aqueduct_handled_v4;

-- The records written last, with the same columns: few, so that those of one commit share pages although
-- ids are in no order. They move to aqueduct_handled together, in the order of its pages; until then one
-- here replaces one there.
CREATE TABLE aqueduct_handled_recent (
    scope INTEGER NOT NULL,
    event TEXT NOT NULL,
    completed INTEGER,
    generation INTEGER NOT NULL,
    nonce INTEGER NOT NULL,
    heartbeat INTEGER NOT NULL DEFAULT 0,
    stream TEXT,
    partition TEXT,
    PRIMARY KEY (scope, event)
) STRICT, WITHOUT ROWID;

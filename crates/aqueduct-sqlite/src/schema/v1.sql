-- Times are milliseconds since 1970 in UTC, but for the moments in which events were stored, which
-- are nanoseconds. JSON is text. Numbers of 64 bits without a sign
-- (nonces, generations) are kept bit for bit in SQLite's signed ones.

CREATE TABLE aqueduct_stream (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    layout INTEGER NOT NULL DEFAULT 1, -- rises with each reshard
    next_number INTEGER NOT NULL,      -- of the next partition made
    retention INTEGER,                 -- milliseconds; NULL: for ever
    max_bytes INTEGER,                 -- of packed events; NULL: any
    max_event_bytes INTEGER NOT NULL   -- of one event
) STRICT;

CREATE TABLE aqueduct_partition (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER NOT NULL,           -- may point nowhere while a deleted stream is cleared
    number INTEGER NOT NULL,           -- its name
    range_first INTEGER NOT NULL,      -- of the 32-bit hashes of keys, both ends included
    range_last INTEGER NOT NULL,
    parents TEXT NOT NULL DEFAULT '[]',  -- numbers
    children TEXT NOT NULL DEFAULT '[]', -- numbers
    closed INTEGER,                    -- when; NULL while it takes events
    first INTEGER NOT NULL DEFAULT 1,  -- the first position still kept
    next INTEGER NOT NULL DEFAULT 1,   -- the position of the next event
    written INTEGER NOT NULL DEFAULT 0, -- nanoseconds: when the last event was stored; never falls
    bytes INTEGER NOT NULL DEFAULT 0,  -- of packed events kept
    UNIQUE (stream, number)
) STRICT;

-- Consecutive events of one partition, stored in one transaction.
CREATE TABLE aqueduct_segment (
    id INTEGER PRIMARY KEY,
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,            -- position of its first event
    last INTEGER NOT NULL,             -- position of its last event
    stored_at INTEGER NOT NULL,        -- nanoseconds
    shapes TEXT NOT NULL,              -- [[type, source, content type, schema], ...]
    heads TEXT NOT NULL,               -- [[shape, id, bytes of data, key, {more}], ...]
    body BLOB NOT NULL                 -- the data of its events, one after the other
) STRICT;
CREATE UNIQUE INDEX aqueduct_segment_place ON aqueduct_segment (partition, last);
CREATE INDEX aqueduct_segment_time ON aqueduct_segment (partition, stored_at);

-- Every event, a row each: for people, not for speed.
CREATE VIEW aqueduct_event AS
SELECT
    st.name AS stream,
    p.number AS partition,
    s.first + h.key AS position,
    s.stored_at AS stored_at,
    h.value ->> 1 AS id,
    s.shapes -> (h.value ->> 0) ->> 0 AS type,
    s.shapes -> (h.value ->> 0) ->> 1 AS source,
    h.value ->> 3 AS key,
    h.value -> 4 ->> 'subject' AS subject,
    h.value -> 4 ->> 'time' AS time,
    s.shapes -> (h.value ->> 0) ->> 2 AS content_type,
    s.shapes -> (h.value ->> 0) ->> 3 AS schema,
    h.value -> 4 -> 'attributes' AS attributes,
    substr(s.body, 1 + (
        SELECT coalesce(sum(b.value ->> 2), 0) FROM json_each(s.heads) b WHERE b.key < h.key
    ), h.value ->> 2) AS data
FROM aqueduct_segment s
JOIN aqueduct_partition p ON p.id = s.partition
JOIN aqueduct_stream st ON st.id = p.stream,
json_each(s.heads) h;

CREATE TABLE aqueduct_group (
    name TEXT NOT NULL,
    stream TEXT NOT NULL,
    started_at TEXT NOT NULL,          -- RFC 3339
    start TEXT NOT NULL,               -- {partition: watermark, ...}
    replay INTEGER NOT NULL,
    created TEXT NOT NULL,             -- RFC 3339
    PRIMARY KEY (name, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE aqueduct_lease (
    name TEXT NOT NULL,                -- of the group
    stream TEXT NOT NULL,
    partition TEXT NOT NULL,
    version INTEGER NOT NULL,          -- rises with each write
    owner TEXT,
    generation INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    wanted_by TEXT,
    watermark TEXT NOT NULL,           -- earliest, time:T, from:P, after:P, at:P or end
    handed_out TEXT,
    attempts_position TEXT,
    attempts_count INTEGER NOT NULL,
    attempts_started INTEGER NOT NULL,
    unclean INTEGER NOT NULL,
    parents TEXT NOT NULL,
    children TEXT NOT NULL,
    range TEXT,                        -- two hexadecimal numbers with a dash between
    nonce INTEGER NOT NULL,
    PRIMARY KEY (name, stream, partition)
) STRICT, WITHOUT ROWID;

-- Which process a member runs in: the name of a file that its process keeps locked.
CREATE TABLE aqueduct_member (
    owner TEXT PRIMARY KEY,
    process TEXT NOT NULL,
    joined INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE aqueduct_handled (
    name TEXT NOT NULL,                -- of the group
    handlers TEXT NOT NULL,
    replay INTEGER NOT NULL,
    source TEXT NOT NULL,
    event TEXT NOT NULL,               -- its id
    completed INTEGER,                 -- when; NULL while it is claimed
    partition TEXT,
    generation INTEGER NOT NULL,
    nonce INTEGER NOT NULL,
    heartbeat INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (name, handlers, replay, source, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX aqueduct_handled_age ON aqueduct_handled (completed) WHERE completed IS NOT NULL;

CREATE TABLE aqueduct_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,                -- of the group
    stream TEXT NOT NULL,
    partition TEXT,
    position TEXT,
    key TEXT,
    source TEXT NOT NULL,
    event TEXT NOT NULL,               -- its id
    type TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    holds_key INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failures TEXT NOT NULL,            -- [{attempt, at, error}, ...]
    stored_at TEXT,                    -- RFC 3339
    buried_at TEXT NOT NULL,           -- RFC 3339
    buried INTEGER NOT NULL,           -- the same in milliseconds
    shapes TEXT NOT NULL,              -- the event, packed as in aqueduct_segment
    head TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX aqueduct_letter_once ON aqueduct_letter (name, stream, source, event);
CREATE INDEX aqueduct_letter_age ON aqueduct_letter (buried);
CREATE INDEX aqueduct_letter_key ON aqueduct_letter (name, stream, key) WHERE key IS NOT NULL;

-- Keys whose later events follow into the letters.
CREATE TABLE aqueduct_held_key (
    name TEXT NOT NULL,                -- of the group
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (name, stream, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE aqueduct_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    created INTEGER NOT NULL,
    shapes TEXT NOT NULL,              -- the event, packed as in aqueduct_segment
    head TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX aqueduct_outbox_order ON aqueduct_outbox (stream, id);

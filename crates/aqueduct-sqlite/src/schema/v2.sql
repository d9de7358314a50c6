-- Where a service resumes by an opaque token rather than by position, and when the group had last
-- caught up; both belong to the checkpoint.
ALTER TABLE aqueduct_lease ADD COLUMN resume_token TEXT;
ALTER TABLE aqueduct_lease ADD COLUMN caught_up_at TEXT; -- RFC 3339

-- The stream of the partition that a claim names: a group may read several.
ALTER TABLE aqueduct_handled ADD COLUMN stream TEXT;

-- Identifies the file. One row.
CREATE TABLE aqueduct_file (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    identity TEXT NOT NULL,            -- random: tells this file from another put in its place
    checkpoints INTEGER NOT NULL       -- rises before each checkpoint: tells an older copy
) STRICT;
INSERT INTO aqueduct_file (id, identity, checkpoints)
VALUES (1, lower(hex(randomblob(16))), 0);

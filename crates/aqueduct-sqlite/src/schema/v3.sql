-- Identifies a stream: one deleted and created again under the same name has another identity, also
-- where the clock was wrong.
ALTER TABLE aqueduct_stream ADD COLUMN identity TEXT;
UPDATE aqueduct_stream SET identity = lower(hex(randomblob(16)));

-- The identity of the stream whose positions the group keeps; the stream may be elsewhere. NULL in
-- rows of version 2: they are not compared.
ALTER TABLE aqueduct_group ADD COLUMN stream_identity TEXT;

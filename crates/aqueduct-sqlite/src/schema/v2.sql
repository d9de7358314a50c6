-- Where a service resumes by an opaque token rather than by position, and when the group had last
-- caught up; both belong to the checkpoint.
ALTER TABLE aqueduct_lease ADD COLUMN resume_token TEXT;
ALTER TABLE aqueduct_lease ADD COLUMN caught_up_at TEXT; -- RFC 3339

-- The stream of the partition that a claim names: a group may read several.
ALTER TABLE aqueduct_handled ADD COLUMN stream TEXT;

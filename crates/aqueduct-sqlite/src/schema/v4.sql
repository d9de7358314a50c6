-- Times that the wall clock passed over without a process that saw them pass: the file was closed, or
-- the clock was set. Events from before such a jump are not older for it until the clock has gone on
-- for as long as they are kept. A row goes once the clock was seen before `after` again.
CREATE TABLE aqueduct_clock_jump (
    after INTEGER PRIMARY KEY,         -- the wall clock after the jump, in nanoseconds
    before INTEGER NOT NULL            -- and before it
) STRICT;

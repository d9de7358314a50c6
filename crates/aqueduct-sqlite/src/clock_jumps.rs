use aqueduct_core::Timestamp;
use rusqlite::Connection;

use crate::streams::nanos;

/// A shorter time that passed unseen is trusted: it ages what is stored by an hour too much at most.
pub(crate) const SHORTEST: i64 = 3600 * 1_000_000_000;

/// The most jumps that a file keeps. Beyond it the oldest is trusted.
const MOST: usize = 1024;

/// The wall clock went from `before` to `after`, in nanoseconds, and no process saw that time pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockJump {
    pub(crate) before: i64,
    pub(crate) after: i64,
}

/// The jumps of a file's wall clock, the latest last.
///
/// A jump is either time that really passed or a clock that was set wrong. Which one is known once the
/// clock goes back (it was wrong) or has gone on for long (then even a wrong clock counts as right).
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockJumps {
    jumps: Vec<ClockJump>,
    changed: bool,
}

impl ClockJumps {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let jumps = connection
            .prepare("SELECT before, after FROM aqueduct_clock_jump ORDER BY after")?
            .query_map([], |row| {
                Ok(ClockJump {
                    before: row.get(0)?,
                    after: row.get(1)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(Self {
            jumps,
            changed: false,
        })
    }

    /// Adds a jump if it is long enough to matter.
    pub(crate) fn add(&mut self, jump: ClockJump) {
        if jump.after.saturating_sub(jump.before) < SHORTEST {
            return;
        }
        self.jumps.push(jump);
        if self.jumps.len() > MOST {
            self.jumps.remove(0);
        }
        self.changed = true;
    }

    /// Forgets the jumps that the wall clock has taken back.
    pub(crate) fn take_back(&mut self, wall: Timestamp) {
        let jumps = self.jumps.len();
        self.jumps.retain(|jump| jump.after <= nanos(wall));
        self.changed |= self.jumps.len() < jumps;
    }

    /// Returns the time that lies `kept` nanoseconds before `wall`, without the jumps since which the
    /// clock has not yet gone on for `kept`.
    pub(crate) fn before(&self, wall: Timestamp, kept: i64) -> i64 {
        let wall = nanos(wall);
        let (mut at, mut left) = (wall, kept);
        for jump in self.jumps.iter().rev() {
            let seen = at.saturating_sub(jump.after);
            // `seen` is negative for a jump that a longer one covers.
            if seen < 0 {
                continue;
            }
            if seen >= left || wall.saturating_sub(jump.after) >= kept {
                break;
            }
            left -= seen;
            at = jump.before;
        }
        at.saturating_sub(left)
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(crate) fn set_saved(&mut self) {
        self.changed = false;
    }

    /// Writes the jumps if they changed. Other processes see the same clock and may have written the
    /// same ones.
    pub(crate) fn save(&self, connection: &Connection, wall: Timestamp) -> rusqlite::Result<()> {
        if !self.changed {
            return Ok(());
        }
        connection.execute(
            "DELETE FROM aqueduct_clock_jump WHERE after > ?1",
            [nanos(wall)],
        )?;
        let mut insert = connection.prepare(
            "INSERT INTO aqueduct_clock_jump (before, after) SELECT ?1, ?2 WHERE NOT EXISTS
             (SELECT 1 FROM aqueduct_clock_jump WHERE after > ?2 - ?3 AND after < ?2 + ?3)",
        )?;
        for jump in &self.jumps {
            insert.execute([jump.before, jump.after, SHORTEST])?;
        }
        connection
            .execute(
                "DELETE FROM aqueduct_clock_jump WHERE after NOT IN
                 (SELECT after FROM aqueduct_clock_jump ORDER BY after DESC LIMIT ?1)",
                [MOST as i64],
            )
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = SHORTEST;

    fn wall(hours: i64) -> Timestamp {
        crate::streams::from_nanos(hours * HOUR)
    }

    fn jumps(all: &[(i64, i64)]) -> ClockJumps {
        let mut jumps = ClockJumps::default();
        for (before, after) in all {
            jumps.add(ClockJump {
                before: before * HOUR,
                after: after * HOUR,
            });
        }
        jumps
    }

    fn before(jumps: &ClockJumps, at: i64, kept: i64) -> i64 {
        jumps.before(wall(at), kept * HOUR) / HOUR
    }

    #[test]
    fn a_jump_counts_once_the_clock_has_gone_on_for_what_is_kept() {
        let one = jumps(&[(100, 1000)]);
        assert_eq!(before(&one, 1000, 10), 90);
        assert_eq!(before(&one, 1004, 10), 94);
        assert_eq!(before(&one, 1009, 10), 99);
        assert_eq!(before(&one, 1010, 10), 1000);
        assert_eq!(before(&one, 1020, 10), 1010);
    }

    #[test]
    fn a_file_open_for_an_hour_a_day_keeps_at_most_twice_as_long() {
        let daily: Vec<_> = (0..100).map(|day| (day * 24 + 1, day * 24 + 24)).collect();
        let kept = 7 * 24;
        let now = 100 * 24 + 1;
        let bound = before(&jumps(&daily), now, kept);
        assert!((now - 2 * kept..=now - kept).contains(&bound), "{bound}");
    }

    #[test]
    fn short_times_are_trusted_and_a_jump_taken_back_is_forgotten() {
        let mut jumps = jumps(&[(100, 1000)]);
        jumps.add(ClockJump {
            before: 1000 * HOUR,
            after: 1001 * HOUR - 1,
        });
        assert_eq!(jumps.jumps.len(), 1);
        jumps.set_saved();
        jumps.take_back(wall(1000));
        assert!(!jumps.is_changed());
        jumps.take_back(wall(150));
        assert!(jumps.is_changed());
        assert_eq!(before(&jumps, 150, 10), 140);
    }

    proptest! {
        #[test]
        fn jumps_never_make_anything_older(
            steps in prop::collection::vec((0i64..50, 0i64..200), 0..30),
            kept in 1i64..300,
        ) {
            let (mut at, mut all, mut last) = (0, Vec::new(), i64::MIN);
            for (runs, jump) in steps {
                at += runs;
                if jump > 0 {
                    all.push((at, at + jump));
                    at += jump;
                }
                let bound = before(&jumps(&all), at, kept);
                prop_assert!(bound <= at - kept);
                last = last.max(bound);
            }
            // All of it goes once the clock has gone on without a jump.
            prop_assert_eq!(before(&jumps(&all), at + kept, kept), at);
        }
    }
}

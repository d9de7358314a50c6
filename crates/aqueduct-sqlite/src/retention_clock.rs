use std::time::Duration;

use aqueduct_core::{Instant, Timestamp};
use rusqlite::Connection;

use crate::clock_jumps::{ClockJump, ClockJumps};
use crate::streams::nanos;

/// A smaller change of the wall clock against the monotonic one is drift, not a jump.
const JUMP: i64 = 1_000_000_000;

/// Jumps remembered at once. Beyond it the oldest two count as one: removal gets later, never earlier.
const JUMPS: usize = 1024;

/// Stored times are corrected only by a clock that has not jumped for this long.
const STEADY: i64 = 3600 * 1_000_000_000;

/// Stored times this far ahead of a steady clock come from a clock that was wrong.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// 2026-01-01T00:00:00Z in milliseconds. An earlier wall clock was never set, so it corrects nothing.
const NEVER_SET: i64 = 1_767_225_600_000;

/// Tells what was stored a duration ago, although the wall clock may jump.
///
/// It keeps the offset of the wall clock from the monotonic one over time. A time stamp that was
/// made within the last `kept` is at least the lowest offset of that period plus the monotonic time
/// at which it was made. What is older than that bound is therefore older than `kept` by the
/// monotonic clock. A jump forward counts once it is `kept` ago.
#[derive(Clone, Debug)]
pub(crate) struct RetentionClock {
    /// Rising in both fields, so the first that reaches into a period is its lowest. Never empty.
    offsets: Vec<Offset>,
    now: i64,
    wall: Timestamp,
    steady_since: i64,
    /// Outlive the process, which may have stored events after a jump.
    jumps: ClockJumps,
}

/// The wall clock minus the monotonic one, in nanoseconds, and until when it was in use.
#[derive(Clone, Copy, Debug)]
struct Offset {
    until: i64,
    value: i64,
}

impl RetentionClock {
    /// Starts at the opening of a file with these `jumps`, whose newest stored time that is not in the
    /// future is `newest`.
    ///
    /// The time that passed while the file was closed is known from the wall clock only, so what the
    /// file holds ages on from `newest`.
    pub(crate) fn new(
        now: Instant,
        wall: Timestamp,
        newest: Option<i64>,
        mut jumps: ClockJumps,
    ) -> Self {
        let (now, walled) = (since_origin(now), nanos(wall));
        let newest = newest.unwrap_or(walled).min(walled);
        jumps.take_back(wall);
        jumps.add(ClockJump {
            before: newest,
            after: walled,
        });
        let mut clock = Self {
            offsets: vec![Offset {
                until: now,
                value: newest.saturating_sub(now),
            }],
            now,
            wall,
            steady_since: now,
            jumps,
        };
        clock.add(walled.saturating_sub(now));
        clock
    }

    /// Takes both clocks. `wall` should be read before `now`: a pause in between then makes removal
    /// later, not earlier.
    pub(crate) fn observe(&mut self, wall: Timestamp, now: Instant) {
        self.now = since_origin(now).max(self.now);
        self.wall = wall;
        let value = nanos(wall).saturating_sub(self.now);
        let last = self.offsets.last_mut().map(|last| {
            // The clock may have jumped at any moment since it was last observed.
            last.until = self.now;
            last.value
        });
        if last.is_none_or(|last| value.abs_diff(last) >= JUMP as u64) {
            self.steady_since = self.now;
        }
        self.jumps.take_back(wall);
        self.jumps.add(ClockJump {
            before: self.now.saturating_add(last.unwrap_or(value)),
            after: nanos(wall),
        });
        self.add(value);
    }

    fn add(&mut self, value: i64) {
        self.offsets.retain(|offset| offset.value <= value);
        let until = self.now;
        match self.offsets.last_mut() {
            Some(last) if value.saturating_sub(last.value) < JUMP => last.until = until,
            _ => self.offsets.push(Offset { until, value }),
        }
        if self.offsets.len() > JUMPS {
            let second = self.offsets.remove(1);
            self.offsets[0].until = second.until;
        }
    }

    /// Returns the stored time, in nanoseconds, before which everything is older than `kept`.
    pub(crate) fn before(&self, kept: Duration) -> i64 {
        let kept = i64::try_from(kept.as_nanos()).unwrap_or(i64::MAX);
        let start = self.now.saturating_sub(kept);
        let lowest = self.offsets.iter().find(|offset| offset.until >= start);
        let seen = lowest.map_or(i64::MIN, |offset| start.saturating_add(offset.value));
        seen.min(self.jumps.before(self.wall, kept))
    }

    /// Writes the jumps that came since the last time, if any.
    pub(crate) fn save_jumps(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.jumps.save(connection, self.wall)
    }

    pub(crate) fn has_unsaved_jumps(&self) -> bool {
        self.jumps.is_changed()
    }

    /// To be called once [`save_jumps`](Self::save_jumps) is committed.
    pub(crate) fn jumps_are_saved(&mut self) {
        self.jumps.set_saved();
    }

    /// Returns the wall clock and the first time that is too far ahead of it to be true; `None` while
    /// the wall clock itself may be wrong.
    pub(crate) fn correction(&self) -> Option<(Timestamp, Timestamp)> {
        let steady = self.now.saturating_sub(self.steady_since) >= STEADY;
        (steady && self.wall.as_millis() >= NEVER_SET)
            .then(|| (self.wall, self.wall.saturating_add(FAR)))
    }
}

fn since_origin(now: Instant) -> i64 {
    i64::try_from(now.elapsed_since_origin().as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    const YEAR: u64 = 365 * 24 * HOUR;

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    fn wall(seconds: u64) -> Timestamp {
        Timestamp::from_millis(NEVER_SET).saturating_add(Duration::from_secs(seconds))
    }

    fn before(clock: &RetentionClock) -> Timestamp {
        crate::streams::from_nanos(clock.before(Duration::from_secs(HOUR)))
    }

    #[test]
    fn a_steady_clock_is_followed_at_once() {
        let newest = nanos(wall(10 * HOUR));
        let clock =
            RetentionClock::new(at(5), wall(10 * HOUR), Some(newest), ClockJumps::default());
        assert_eq!(before(&clock), wall(9 * HOUR));
    }

    #[test]
    fn a_jump_forward_counts_once_it_is_as_old_as_what_is_kept() {
        let mut clock = RetentionClock::new(at(0), wall(0), None, ClockJumps::default());
        clock.observe(wall(HOUR), at(HOUR));
        clock.observe(wall(HOUR + YEAR + 1), at(HOUR + 1));
        assert_eq!(before(&clock), wall(1));
        clock.observe(wall(2 * HOUR + YEAR + 1), at(2 * HOUR + 1));
        assert_eq!(before(&clock), wall(HOUR + 1));
        clock.observe(wall(2 * HOUR + YEAR + 2), at(2 * HOUR + 2));
        assert_eq!(before(&clock), wall(HOUR + YEAR + 2));
    }

    #[test]
    fn a_jump_back_counts_at_once_and_a_passing_jump_never() {
        let mut clock = RetentionClock::new(at(0), wall(YEAR), None, ClockJumps::default());
        clock.observe(wall(HOUR), at(HOUR));
        assert_eq!(before(&clock), wall(0));
        for second in 1..5000 {
            let jumped = if second % 2 == 0 { YEAR } else { 0 };
            clock.observe(wall(HOUR + second + jumped), at(HOUR + second));
            assert!(before(&clock) <= wall(second));
        }
    }

    #[test]
    fn ever_more_jumps_take_no_more_memory_and_remove_nothing_early() {
        let mut clock = RetentionClock::new(at(0), wall(0), None, ClockJumps::default());
        for second in 1..3000 {
            clock.observe(wall(second * 10), at(second));
            assert!(before(&clock) <= wall(0));
        }
        assert_eq!(clock.offsets.len(), JUMPS);
    }

    #[test]
    fn only_a_steady_and_set_clock_corrects_stored_times() {
        let mut clock = RetentionClock::new(at(0), wall(0), None, ClockJumps::default());
        clock.observe(wall(HOUR - 1), at(HOUR - 1));
        assert_eq!(clock.correction(), None);
        clock.observe(wall(HOUR), at(HOUR));
        assert_eq!(clock.correction(), Some((wall(HOUR), wall(25 * HOUR))));
        clock.observe(wall(HOUR + 60), at(HOUR + 1));
        assert_eq!(clock.correction(), None);
        let mut unset = RetentionClock::new(at(0), Timestamp::EPOCH, None, ClockJumps::default());
        let hours = Duration::from_secs(2 * HOUR);
        unset.observe(Timestamp::EPOCH.saturating_add(hours), at(2 * HOUR));
        assert_eq!(unset.correction(), None);
    }
}

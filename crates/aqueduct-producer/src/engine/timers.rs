use std::collections::BTreeMap;

use aqueduct_core::{Instant, Lane};

use super::key_queue::KeyId;
use super::store::Ticket;

/// Names the part of the machine that continues at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Key(KeyId),
    Event(Ticket),
    /// The pause of a lane ends.
    Lane(Lane),
    /// A lane may have been idle long enough to be forgotten.
    IdleLane(Lane),
}

/// Orders timers by time, and by the order in which they were set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeMap<(Instant, u64), Timer>,
    next: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.queue.insert((at, self.next), timer);
        self.next += 1;
    }

    /// Returns the time of the first timer.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first timer if it has expired.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let first = self.queue.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Removes the timers that `keep` does not keep.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Timer) -> bool) {
        self.queue.retain(|_, timer| keep(timer));
    }

    pub(super) fn take_all(&mut self) -> Vec<Timer> {
        std::mem::take(&mut self.queue).into_values().collect()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (Instant, Timer)> {
        self.queue.iter().map(|((at, _), timer)| (*at, *timer))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_expire_by_time_and_then_in_the_order_in_which_they_were_set() {
        let at = |millis| Instant::default() + Duration::from_millis(millis);
        let mut timers = Timers::default();
        for (millis, key) in [(20, 1), (10, 2), (20, 3), (10, 4)] {
            timers.set(at(millis), Timer::Key(key));
        }
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        timers.retain(|timer| *timer != Timer::Key(4));
        let expired: Vec<Timer> = std::iter::from_fn(|| timers.pop(at(20))).collect();
        assert_eq!(expired, [Timer::Key(2), Timer::Key(1), Timer::Key(3)]);
        assert_eq!(timers.next(), None);
    }
}

use std::collections::{BTreeSet, VecDeque};

use aqueduct_core::Instant;

/// When each message is looked at next. Most timers are set in the order of their times, since most leases
/// are equally long: those go into a queue, in which a timer that no longer holds stays until it is met.
#[derive(Debug, Default)]
pub(super) struct Timers {
    rising: VecDeque<(Instant, u64)>,
    others: BTreeSet<(Instant, u64)>,
}

/// The timer of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Timer {
    #[default]
    Unset,
    Rising(Instant),
    Other(Instant),
}

impl Timers {
    /// Sets the timer of a message that had `old`.
    pub(super) fn set(&mut self, number: u64, old: Timer, at: Instant) -> Timer {
        if old == Timer::Rising(at) || old == Timer::Other(at) {
            return old;
        }
        self.unset(number, old);
        if self.rising.back().is_none_or(|(last, _)| *last <= at) {
            self.rising.push_back((at, number));
            return Timer::Rising(at);
        }
        self.others.insert((at, number));
        Timer::Other(at)
    }

    /// Ends the timer of a message.
    pub(super) fn unset(&mut self, number: u64, timer: Timer) {
        if let Timer::Other(at) = timer {
            self.others.remove(&(at, number));
        }
    }

    /// Drops the timers of the queue that no longer hold: those in front at once, and all once they
    /// are more than the `live` ones.
    pub(super) fn tidy(&mut self, live: usize, timer_of: impl Fn(u64) -> Timer) {
        let holds = |(at, number): &(Instant, u64)| timer_of(*number) == Timer::Rising(*at);
        while self.rising.front().is_some_and(|first| !holds(first)) {
            self.rising.pop_front();
        }
        if self.rising.len() > 2 * live + 64 {
            self.rising.retain(holds);
        }
    }

    /// Returns the next timer.
    pub(super) fn first(&self) -> Option<(Instant, u64)> {
        let first = [self.rising.front(), self.others.first()];
        first.into_iter().flatten().min().copied()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rising.len() + self.others.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    proptest! {
        /// The first timer is that of a model, and what no longer holds does not pile up.
        #[test]
        fn the_first_timer_is_the_earliest(steps in prop::collection::vec((0..20u64, prop::option::of(0..50u64)), 1..300)) {
            let mut timers = Timers::default();
            let mut set: BTreeMap<u64, Timer> = BTreeMap::new();
            let mut model: BTreeMap<u64, Instant> = BTreeMap::new();
            for (number, time) in steps {
                let old = set.get(&number).copied().unwrap_or_default();
                match time {
                    Some(time) => {
                        set.insert(number, timers.set(number, old, at(time)));
                        model.insert(number, at(time));
                    }
                    None => {
                        timers.unset(number, old);
                        set.remove(&number);
                        model.remove(&number);
                    }
                }
                timers.tidy(set.len(), |number| set.get(&number).copied().unwrap_or_default());
                let earliest = model.iter().map(|(number, at)| (*at, *number)).min();
                prop_assert_eq!(timers.first().map(|it| it.0), earliest.map(|it| it.0));
                prop_assert!(timers.len() <= 3 * set.len() + 64);
            }
        }
    }
}

use std::collections::VecDeque;

use aqueduct_core::{Instant, Lane};

use super::backlog::Backlog;
use super::deadline::Deadlines;
use super::key_queue::KeyId;
use super::store::{Store, Ticket};

/// Names something that has waited and may be sent now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Key(KeyId),
    Event(Ticket),
    Lane(Lane),
}

/// The accepted events that are not in flight.
#[derive(Default)]
pub(super) struct Pending {
    /// The events, wherever their tickets are.
    pub(super) store: Store,
    /// Accepted events in their order, not yet looked at.
    pub(super) backlog: Backlog,
    /// Work that has waited and may go now; it goes before `backlog`.
    pub(super) runnable: VecDeque<Work>,
    pub(super) deadlines: Deadlines,
    /// When something could first be sent.
    since: Option<Instant>,
    next_seq: u64,
}

impl Pending {
    /// Returns whether nothing could be sent.
    pub(super) fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.runnable.is_empty()
    }

    /// Notes that something can be sent from `now` on.
    #[inline]
    pub(super) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Notes a look at everything at `now`: the rest, if any, waits again from then on.
    pub(super) fn looked_at(&mut self, now: Instant) {
        self.since = (!self.is_idle()).then_some(now);
    }

    /// Returns when something could first be sent.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Forgets that anything waits.
    pub(super) fn stop(&mut self) {
        self.since = None;
    }

    /// Makes `work` runnable.
    pub(super) fn resume(&mut self, now: Instant, work: Work) {
        self.runnable.push_back(work);
        self.begin(now);
    }

    /// Returns the number of the next event. It is taken once the event waits.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Takes the number of the next event.
    #[inline]
    pub(super) fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// Returns the number of the oldest event of the backlog.
    pub(super) fn oldest(&self) -> u64 {
        let first = self.backlog.first(&self.store);
        first.map_or(u64::MAX, |meta| meta.seq)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_wait_begins_with_the_first_and_again_after_a_look_that_leaves_something() {
        let at = |millis| Instant::default() + Duration::from_millis(millis);
        let mut pending = Pending::default();
        pending.resume(at(1), Work::Lane(Lane(0)));
        pending.resume(at(2), Work::Lane(Lane(1)));
        assert_eq!(pending.since(), Some(at(1)));
        pending.runnable.pop_front();
        pending.looked_at(at(3));
        assert_eq!(pending.since(), Some(at(3)));
        pending.runnable.clear();
        pending.looked_at(at(4));
        assert_eq!(pending.since(), None);
    }
}

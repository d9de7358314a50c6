use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Instant};

use super::key_queue::{Hold, KeyId, Meta};
use super::pending::Work;
use super::store::Ticket;
use super::timers::Timer;
use super::{Engine, exhausted, unknown_if};

/// The shortest time between two looks at every event that waits.
const RECHECK: Duration = Duration::from_millis(100);

/// Every event that waits has an outcome by its deadline, wherever it waits: for its turn, for its
/// key, for its lane, or for a retry. (Rule 11: what gave up is exhausted.)
///
/// All events have the same time, so one instant is enough: no event that waits is due before it.
#[derive(Default)]
pub(super) struct Deadlines {
    next: Option<Instant>,
}

impl Deadlines {
    /// Notes an event that begins to wait.
    #[inline]
    pub(super) fn note(&mut self, due: Instant) {
        if self.next.is_none_or(|next| due < next) {
            self.next = Some(due);
        }
    }

    /// Returns an instant at or before the earliest deadline of an event that waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }
}

impl Engine {
    /// Fails the events whose deadline has passed.
    ///
    /// Looks at every event that waits, but only when an event may be due: at most once per deadline
    /// while events flow.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.pending.deadlines.next().is_none_or(|next| next > now) {
            return;
        }
        self.pending.deadlines.next = None;
        self.expire_backlog(now);
        self.expire_keys(now);
        self.expire_unkeyed(now);
        let rest = self
            .pending
            .backlog
            .first(&self.pending.store)
            .map(|meta| meta.submitted);
        let oldest = self.pending.store.oldest().into_iter().chain(rest).min();
        // Overdue events that are left wait behind a request of their key, which ends by itself.
        self.pending.deadlines.next = oldest.map(|oldest| self.due(oldest).max(now + RECHECK));
    }

    /// Returns the deadline of an event that was accepted at `submitted`.
    #[inline]
    pub(super) fn due(&self, submitted: Instant) -> Instant {
        submitted + self.rules.deadline
    }

    fn is_overdue(&self, ticket: Ticket, now: Instant) -> bool {
        self.due(self.pending.store.meta(ticket).submitted) <= now
    }

    /// The backlog is in the order of acceptance: only its front can be overdue.
    fn expire_backlog(&mut self, now: Instant) {
        while let Some(first) = self.pending.backlog.first(&self.pending.store) {
            if self.due(first.submitted) > now {
                return;
            }
            match self.pending.backlog.pop_event(&self.pending.store) {
                None => self.pending.backlog.split_first(&mut self.pending.store),
                Some(ticket) => self.expire_accepted(ticket),
            }
        }
    }

    /// Fails an overdue event of the backlog. If its key waits, the earlier events of the key fail
    /// with it: they are in the key's queue, and overdue too.
    fn expire_accepted(&mut self, ticket: Ticket) {
        let key = self
            .pending
            .store
            .event(ticket)
            .and_then(|event| event.key_text());
        let Some(id) = key.and_then(|key| self.keys.find(key)) else {
            return self.give_up_late(ticket);
        };
        let queue = &mut self.keys[id];
        let blocked = self.pending.store.meta(ticket).seq < queue.block_below;
        // Nothing overtakes what is in flight: its outcome decides about the rest of the key.
        if !blocked && queue.hold != Hold::None {
            return queue.parked.push_back(ticket);
        }
        match blocked {
            true => self.fail_blocked(ticket),
            false => self.give_up_late(ticket),
        }
    }

    fn expire_keys(&mut self, now: Instant) {
        for id in self.keys.waiting() {
            let queue = &self.keys[id];
            let front = queue.parked.front().copied();
            let Some(ticket) = front.filter(|&ticket| self.is_overdue(ticket, now)) else {
                continue;
            };
            if !matches!(self.keys[id].hold, Hold::InFlight(_)) {
                self.expire_key(id, ticket);
            }
        }
    }

    /// Fails the first event of a key that is not in flight; those behind it are blocked.
    fn expire_key(&mut self, id: KeyId, ticket: Ticket) {
        let queue = &mut self.keys[id];
        queue.parked.pop_front();
        // Timers, lanes and turns of this key find nothing to do.
        queue.hold = Hold::None;
        self.give_up_late(ticket);
        self.tidy(id);
    }

    /// Fails the events without a key that wait for their turn, a lane or a retry.
    fn expire_unkeyed(&mut self, now: Instant) {
        let mut late = Vec::new();
        let mut runnable = std::mem::take(&mut self.pending.runnable);
        runnable.retain(|work| match work {
            Work::Event(ticket) if self.is_overdue(*ticket, now) => {
                late.push(*ticket);
                false
            }
            _ => true,
        });
        self.pending.runnable = runnable;
        let mut timers = std::mem::take(&mut self.timers);
        timers.retain(|timer| match timer {
            Timer::Event(ticket) if self.is_overdue(*ticket, now) => {
                late.push(*ticket);
                false
            }
            _ => true,
        });
        self.timers = timers;
        let (store, deadline) = (&self.pending.store, self.rules.deadline);
        self.lanes.take_waiting(
            |ticket| store.meta(ticket).submitted + deadline <= now,
            &mut late,
        );
        late.sort_unstable_by_key(|ticket| self.pending.store.meta(*ticket).seq);
        for ticket in late {
            self.give_up_late(ticket);
        }
    }

    pub(super) fn give_up_late(&mut self, ticket: Ticket) {
        if let Some((event, meta)) = self.pending.store.take(ticket) {
            self.give_up(event, meta, too_late(&meta));
        }
    }
}

pub(super) fn too_late(meta: &Meta) -> Error {
    let error = Error::new(
        ErrorKind::TimedOut,
        "the deadline of the event passed before it could be sent",
    );
    unknown_if(meta.unknown, exhausted(&error, meta.attempts))
}

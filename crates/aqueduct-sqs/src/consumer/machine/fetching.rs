use std::time::Duration;

use aqueduct_core::{Error, Instant};

use super::held::State;
use super::{Arrival, BATCH, Machine};

/// What is asked of the queue.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    under_way: usize,
    /// How many requests may be under way: more while each comes back full.
    width: usize,
    after: Instant,
    failures: u32,
    /// What those who wait would take.
    demand: usize,
    pub(super) unreachable_since: Option<Instant>,
    pub(super) failure: Option<Error>,
}

impl Machine {
    /// Somebody waits for up to that many, or no longer does.
    pub(in crate::consumer) fn demand(&mut self, more: usize, less: usize) {
        let demand = &mut self.fetching.demand;
        *demand = demand.saturating_add(more).saturating_sub(less);
    }

    /// What a receipt brought that was asked for at `asked`, the earliest moment at which the
    /// service can have handed it out.
    pub(in crate::consumer) fn received(
        &mut self,
        arrivals: Vec<Arrival>,
        asked: Instant,
        now: Instant,
    ) {
        let fetching = &mut self.fetching;
        fetching.under_way = fetching.under_way.saturating_sub(1);
        fetching.failures = 0;
        fetching.unreachable_since = None;
        fetching.width = match arrivals.len() {
            BATCH.. => (fetching.width + 1).min(self.rules.receivers),
            _ => 1,
        };
        for arrival in arrivals {
            self.arrive(arrival, asked, now);
        }
    }

    /// A receipt failed; the next is due after `wait`.
    pub(in crate::consumer) fn not_received(&mut self, error: Error, wait: Duration, now: Instant) {
        let fetching = &mut self.fetching;
        fetching.under_way = fetching.under_way.saturating_sub(1);
        fetching.failures = fetching.failures.saturating_add(1);
        fetching.after = now + wait;
        fetching.width = 1;
        fetching.unreachable_since.get_or_insert(now);
        if !error.is_retryable() {
            fetching.failure = Some(error);
        }
    }

    /// How many receipts failed in a row.
    pub(in crate::consumer) fn failed_receipts(&self) -> u32 {
        self.fetching.failures
    }

    /// A receipt was given up before its answer.
    pub(in crate::consumer) fn receive_cancelled(&mut self) {
        self.fetching.under_way = self.fetching.under_way.saturating_sub(1);
    }

    pub(super) fn next_receive(&mut self, now: Instant) -> Option<usize> {
        if now < self.fetching.after {
            return None;
        }
        let max = self.wanted()?;
        self.fetching.under_way += 1;
        Some(max)
    }

    pub(super) fn fetch_wake(&self, now: Instant) -> Option<Instant> {
        let after = self.fetching.after;
        (after > now && self.wanted().is_some()).then_some(after)
    }

    /// How many messages the next request should ask for.
    fn wanted(&self) -> Option<usize> {
        let fetching = &self.fetching;
        if self.paused || self.draining || fetching.under_way >= fetching.width.max(1) {
            return None;
        }
        let coming = fetching.under_way * BATCH;
        let room = self
            .rules
            .max_unsettled
            .saturating_sub(self.held.len() + coming);
        let target = fetching.demand.max(BATCH);
        let ready = self.ready.len() + coming;
        let heavy = self.bytes >= self.rules.max_unsettled_bytes;
        let busy = fetching.demand == 0 && (ready > 0 || !self.tickets.is_empty());
        (room > 0 && ready < target && !heavy && !busy).then_some(room.min(BATCH))
    }

    fn arrive(&mut self, arrival: Arrival, asked: Instant, now: Instant) {
        if let Some(id) = self.known.get(&arrival.message).copied() {
            self.repeated += 1;
            self.adopt(id, arrival, asked, now);
            return;
        }
        let note = self.memory.of(&arrival.message);
        let runs = match self.rules.count_receipts {
            true => note.runs.max(arrival.receipts.saturating_sub(1)),
            false => note.runs,
        };
        let state = match note.until {
            _ if note.done => State::Acked,
            Some(until) if until > now => State::Waiting(until),
            _ => State::Ready,
        };
        self.hold(arrival.clone(), asked, runs, state);
        let Some(id) = self.known.get(&arrival.message).copied() else {
            return;
        };
        if note.done {
            self.repeated += 1;
            self.delete_again(id, now);
        } else if self.draining {
            self.give_back(id, now);
        }
    }

    /// It came again while it is held: only the newest receipt counts.
    fn adopt(&mut self, id: u64, arrival: Arrival, asked: Instant, now: Instant) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        held.arrival.handle = arrival.handle;
        held.received_at = asked;
        held.visible_at = asked + self.rules.visibility;
        held.extend_after = None;
        let acked = held.state == State::Acked;
        self.set_timer(id);
        if acked {
            self.delete_again(id, now);
        }
    }
}

use std::cmp::Reverse;
use std::time::Duration;

use aqueduct_core::{Checkpoint, Instant, Parts, Revocation, Settlement};

use super::Settled;
use super::machine::Tracker;
use super::slots::{NONE, State};

impl Tracker {
    /// Settles the delivery handed out as `parts`. The caller refuses a reject; here it is a nack.
    /// An ack ignores `now`; `random` is drawn only for the jitter of a back-off.
    pub(crate) fn settle(
        &mut self,
        parts: &Parts,
        settlement: &Settlement,
        now: Instant,
        random: impl FnOnce() -> u64,
    ) -> Result<Settled, Revocation> {
        // The next owner may hold the event already, so this settlement must not count.
        if let Some(why) = self.floor.revoked {
            return Err(why);
        }
        let at = self.slots.out(parts.ticket).ok_or(Revocation::Superseded)?;
        Ok(match settlement {
            Settlement::Ack => self.ack(at),
            Settlement::Defer { delay } => self.hold(at, parts, now, now + *delay, false),
            Settlement::Nack {
                delay: Some(delay), ..
            } => self.hold(at, parts, now, now + *delay, true),
            _ => self.back_off(at, parts, now, random),
        })
    }

    /// Counts a delivery dropped unsettled as a failed attempt. A stale one changes nothing.
    pub(crate) fn abandon(
        &mut self,
        parts: &Parts,
        now: Instant,
        random: impl FnOnce() -> u64,
    ) -> Settled {
        match self.slots.out(parts.ticket) {
            Some(at) => self.back_off(at, parts, now, random),
            None => Settled::default(),
        }
    }

    /// Takes back a delivery whose handler was cancelled: it comes again after `delay`, without a
    /// failed attempt.
    pub(crate) fn give_back(&mut self, parts: &Parts, now: Instant, delay: Duration) -> Settled {
        match self.slots.out(parts.ticket) {
            Some(at) => self.hold(at, parts, now, now + delay, false),
            None => Settled::default(),
        }
    }

    /// Returns why that ticket may no longer be settled; `None` while it may.
    pub(crate) fn revocation(&self, ticket: u64) -> Option<Revocation> {
        match self.slots.out(ticket) {
            _ if self.floor.revoked.is_some() => self.floor.revoked,
            Some(_) => None,
            None => Some(Revocation::Superseded),
        }
    }

    fn ack(&mut self, at: u32) -> Settled {
        let was_guarded = self.is_guarded();
        let slot = self.slots.at(at);
        let (sequence, released) = (slot.sequence, slot.bytes);
        let next = match slot.key {
            NONE => None,
            _ => self.keys.unlink(&mut self.slots, at),
        };
        self.slots.remove(at);
        self.load.bytes -= released;
        self.load.in_flight -= 1;
        self.load.settled += 1;
        if self.line.settle(sequence) {
            self.advance();
        }
        self.no_longer_alone(at);
        let mut deliverable = was_guarded && (self.load.in_flight == 0 || !self.is_guarded());
        // Takes do not look back, so an event behind the cursor that comes first now is queued.
        if let Some(next) = next {
            let slot = self.slots.at(next);
            if slot.state == State::Waiting && slot.sequence < self.ready.cursor {
                self.ready.freed.push_back(next);
                deliverable = true;
            }
        }
        if self.load.blocked_since.is_some() && self.room_at_all() > 0 {
            self.load.blocked_since = None;
        }
        Settled {
            released,
            deliverable,
            ..Settled::default()
        }
    }

    fn back_off(
        &mut self,
        at: u32,
        parts: &Parts,
        now: Instant,
        random: impl FnOnce() -> u64,
    ) -> Settled {
        let failed = self.slots.at(at).failed.saturating_add(1);
        let ceiling = self.options.redelivery.ceiling(failed);
        let due = now + jitter(ceiling, random());
        self.hold(at, parts, now, due, true)
    }

    fn hold(
        &mut self,
        at: u32,
        parts: &Parts,
        now: Instant,
        due: Instant,
        failed: bool,
    ) -> Settled {
        let slot = self.slots.at_mut(at);
        slot.state = State::Retry;
        slot.failed = slot.failed.saturating_add(u32::from(failed));
        // From now on this event runs alone in its key, so that nothing overtakes its retry.
        if !std::mem::replace(&mut slot.troubled, true) {
            self.keys.trouble(slot.key);
        }
        self.ready.retries.push(Reverse((due, slot.sequence, at)));
        let mut next = slot.behind;
        let event = self.slots.event_mut(at);
        event.get_or_insert_with(|| parts.event.clone());
        self.load.in_flight -= 1;
        // Later events of the key in the same run are revoked: this one must come first (rule 2).
        let mut superseded = false;
        while next != NONE && self.slots.at(next).state == State::Out {
            let slot = self.slots.at_mut(next);
            slot.state = State::Waiting;
            self.load.in_flight -= 1;
            superseded = true;
            next = slot.behind;
        }
        self.no_longer_alone(at);
        self.note_limits(now);
        Settled {
            released: 0,
            superseded,
            deliverable: self.guard.isolated_until.is_some() && self.load.in_flight == 0,
            planned: true,
        }
    }

    fn no_longer_alone(&mut self, at: u32) {
        if self.guard.alone() == Some(at) {
            self.guard.trial = None;
        }
    }

    fn advance(&mut self) {
        let settled = match self.line.first() {
            Some(first) => Some(self.slots.at(first).previous),
            None => self.floor.last_seen,
        };
        let Some(settled) = settled else { return };
        self.floor.ack_floor = Checkpoint::At(settled);
        self.guard.settled_to(settled);
        self.tokens.settled_to(settled);
    }
}

/// Returns a random part of `limit`.
fn jitter(limit: Duration, random: u64) -> Duration {
    limit.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

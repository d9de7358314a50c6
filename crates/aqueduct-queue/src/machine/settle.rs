use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Instant, Result, Revocation, SmallStr};

use super::Machine;
use super::messages::State;
use super::recent::Note;

/// When a delivery comes again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    pub(crate) delay: Duration,
    /// Whether a handler failed: only that counts as an attempt.
    pub(crate) failed: bool,
}

impl Machine {
    /// Returns why a delivery may no longer be settled.
    pub(crate) fn revocation(&mut self, ticket: u64, now: Instant) -> Option<Revocation> {
        if let Some(number) = self.rights.message(ticket) {
            if self.messages.get(number)?.lease_end > now {
                return None;
            }
            self.expire(number, now);
        }
        let closed = match self.is_closed() {
            true => Revocation::Shutdown,
            false => Revocation::Expired,
        };
        Some(self.rights.reason(ticket).unwrap_or(closed))
    }

    /// Acknowledges a delivery.
    pub(crate) fn ack(&mut self, ticket: u64, now: Instant) -> Result<()> {
        let number = self.delivered(ticket, now)?;
        self.rights.end(ticket);
        self.messages.set_state(number, State::Acked);
        self.queue_ack(number, now);
        if self.is_draining() && !self.settings.locks_keys {
            // What waited behind it while it was handled goes back now.
            for later in self.messages.behind(number) {
                if self.messages.is_behind_delivered(later) {
                    break;
                }
                let state = self.messages.get(later).map(|it| it.state);
                if matches!(state, Some(State::Ready | State::Delayed(_))) {
                    self.release(later, now);
                }
            }
        }
        Ok(())
    }

    /// Queues the ack of a handled message. Where acks go in order, it waits for those before it, and
    /// takes along those behind it.
    pub(super) fn queue_ack(&mut self, number: u64, now: Instant) {
        let numbers = match self.settings.acks_in_order {
            true => self.messages.acked_first(number),
            false => vec![number],
        };
        for number in numbers {
            if let Some(it) = self.messages.get_mut(number)
                && !std::mem::replace(&mut it.ack_queued, true)
            {
                self.acks.push(number, now);
            }
        }
    }

    /// Lets a delivery come again, before those behind it (rules 2 and 13).
    pub(crate) fn again(&mut self, ticket: u64, again: Again, now: Instant) -> Result<()> {
        let number = self.delivered(ticket, now)?;
        self.rights.end(ticket);
        if let Some(it) = self.messages.get_mut(number) {
            it.runs = it.runs.saturating_add(u32::from(again.failed));
        }
        let state = match again.delay {
            Duration::ZERO => State::Ready,
            delay => State::Delayed(now + delay),
        };
        self.messages.set_state(number, state);
        self.set_timer(number);
        // Those behind it did nothing wrong: they are revoked, held, and gain no attempt.
        let behind = self.messages.behind(number);
        for later in &behind {
            self.revoke(*later, Revocation::Superseded);
        }
        let long = again.delay > self.settings.hold && !self.settings.longest_delay.is_zero();
        if self.is_draining() || long || self.is_parked_full() {
            self.release(number, now);
            for later in behind {
                self.release(later, now);
            }
        }
        Ok(())
    }

    /// A delivery was dropped: if it could still be settled, it comes again.
    pub(crate) fn abandon(&mut self, ticket: u64, again: Again, now: Instant) {
        if !self.rights.forget(ticket) {
            // This fails once its lease has ended: then the message comes again by itself.
            let _ = self.again(ticket, again, now);
            self.rights.forget(ticket);
        }
    }

    /// Gives a message back to the queue: at once, or after the rest of its delay.
    pub(super) fn release(&mut self, number: u64, now: Instant) {
        let longest = self.longest_lease();
        let Some(it) = self.messages.get(number) else {
            return;
        };
        let until = match it.state {
            State::Acked if self.settings.acks_in_order && !it.ack_queued => {
                // It was handled, and what comes before it comes again: so will this, to be
                // acknowledged behind it, unseen.
                self.releases
                    .push(it.message.receipt.clone(), Duration::ZERO);
                self.recent.note_done(it.message.id.clone());
                self.messages.remove(number);
                return;
            }
            State::Acked => return,
            State::Delayed(until) => Some(until),
            State::Ready | State::Delivered(_) => None,
        };
        if it.lease_end > now {
            let longest = (it.received_at + longest).since(now);
            let longest = longest.min(self.settings.longest_delay);
            let delay = until.map_or(Duration::ZERO, |until| until.since(now).min(longest));
            self.releases.push(it.message.receipt.clone(), delay);
        } else if self.settings.client_leases {
            self.releases.forget(it.message.receipt.clone());
        }
        let Some(it) = self.messages.remove(number) else {
            return;
        };
        if it.runs > 0 || until.is_some() {
            let note = Note {
                runs: it.runs,
                until,
                done: false,
            };
            self.recent.note(it.message.id, note);
        }
    }

    /// Returns the next batch of acks, if it is due.
    pub(super) fn next_acks(&mut self, now: Instant) -> Option<Vec<(u64, SmallStr)>> {
        let batch = self.settings.batch;
        if !self.acks.is_due(batch, self.rights.are_out(), now) {
            return None;
        }
        let mut messages = Vec::new();
        while messages.len() < batch {
            let Some(number) = self.acks.pop() else {
                break;
            };
            if let Some(it) = self.messages.get(number) {
                messages.push((number, it.message.receipt.clone()));
            }
        }
        if messages.is_empty() {
            return None;
        }
        self.acks.started();
        Some(messages)
    }

    /// Takes the outcomes of a batch of acks; returns whether to warn of its failure.
    pub(crate) fn acked(
        &mut self,
        messages: &[(u64, SmallStr)],
        outcomes: &[Result<()>],
        now: Instant,
    ) -> bool {
        let mut failure = None;
        for ((number, receipt), outcome) in messages.iter().zip(outcomes) {
            let Some(it) = self.messages.get(*number) else {
                continue;
            };
            match outcome {
                // It came again meanwhile: what was acknowledged is the older receipt.
                _ if it.message.receipt != *receipt => self.acks.push_again(*number, now),
                Ok(()) => {
                    if let Some(it) = self.messages.remove(*number)
                        && self.settings.repeats
                    {
                        // The service may hand it out once more.
                        self.recent.note_done(it.message.id);
                    }
                }
                Err(error) if is_gone(error) => self.expire(*number, now),
                Err(error) => {
                    failure = Some(error.clone());
                    self.acks.push_again(*number, now);
                }
            }
        }
        self.acks.ended(failure, now);
        self.acks.failures.take_warning(now)
    }

    /// Returns whether half of what may be in flight waits behind failures: more would keep other
    /// keys from coming (rule 10).
    fn is_parked_full(&self) -> bool {
        let (count, bytes) = (
            self.settings.max_unsettled,
            self.settings.max_unsettled_bytes,
        );
        if self.messages.len() * 2 <= count && self.messages.bytes() <= bytes / 2 {
            return false;
        }
        let (mut parked, mut parked_bytes) = (0, 0);
        for (number, it) in self.messages.iter() {
            if !matches!(it.state, State::Delayed(_)) {
                continue;
            }
            parked += 1;
            parked_bytes += it.message.bytes;
            for later in self.messages.behind(number) {
                parked += 1;
                parked_bytes += self.messages.get(later).map_or(0, |it| it.message.bytes);
            }
        }
        parked * 2 > count || parked_bytes > bytes / 2
    }

    /// Returns the message that is delivered under `ticket`.
    pub(super) fn delivered(&mut self, ticket: u64, now: Instant) -> Result<u64> {
        if let Some(why) = self.revocation(ticket, now) {
            return Err(why.to_error());
        }
        let number = self.rights.message(ticket);
        number.ok_or_else(|| Revocation::Expired.to_error())
    }
}

/// Returns whether a receipt no longer counts.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Revoked | ErrorKind::Invalid)
}

use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Instant, Result, Revocation, SmallStr};

use super::held::State;
use super::memory::Note;
use super::{BATCH, Command, DELETIONS, LINGER, LONGEST, Machine};

/// When a delivery comes again.
#[derive(Clone, Copy, Debug)]
pub(in crate::consumer) struct Again {
    pub(in crate::consumer) delay: Duration,
    /// Whether that was a failed attempt.
    pub(in crate::consumer) failed: bool,
}

impl Machine {
    /// Why a delivery may no longer be settled.
    pub(in crate::consumer) fn revocation(
        &mut self,
        ticket: u64,
        now: Instant,
    ) -> Option<Revocation> {
        if let Some(id) = self.tickets.get(&ticket).copied() {
            let held = self.held.get(&id)?;
            if held.visible_at > now {
                return None;
            }
            self.expire(id, now);
        }
        let why = self.revoked.get(&ticket).copied();
        Some(why.unwrap_or(match self.closed {
            true => Revocation::Shutdown,
            false => Revocation::Expired,
        }))
    }

    /// It is handled.
    pub(in crate::consumer) fn ack(&mut self, ticket: u64, now: Instant) -> Result<()> {
        let id = self.out(ticket, now)?;
        self.tickets.remove(&ticket);
        if let Some(held) = self.held.get_mut(&id) {
            held.state = State::Acked;
        }
        self.index(id);
        self.deletes.push_back(id);
        self.oldest_delete.get_or_insert(now);
        Ok(())
    }

    /// It comes again, and before all that is behind it.
    pub(in crate::consumer) fn again(
        &mut self,
        ticket: u64,
        again: Again,
        now: Instant,
    ) -> Result<()> {
        let id = self.out(ticket, now)?;
        self.tickets.remove(&ticket);
        let until = now + again.delay;
        if let Some(held) = self.held.get_mut(&id) {
            held.runs = held.runs.saturating_add(u32::from(again.failed));
            held.state = match again.delay {
                Duration::ZERO => State::Ready,
                _ => State::Waiting(until),
            };
        }
        self.index(id);
        self.set_timer(id);
        let behind = self.behind(id);
        for later in &behind {
            self.take_back(*later, Revocation::Superseded);
        }
        if self.draining || again.delay > self.rules.hold || self.is_parked_full() {
            self.give_back(id, now);
            for later in behind {
                self.give_back(later, now);
            }
        }
        Ok(())
    }

    /// A delivery was dropped: where it was still out, it comes again.
    pub(in crate::consumer) fn abandon(&mut self, ticket: u64, again: Again, now: Instant) {
        if self.revoked.remove(&ticket).is_none() {
            // It fails where the time is over: then it comes again by itself.
            let _ = self.again(ticket, again, now);
        }
        self.revoked.remove(&ticket);
    }

    /// Hides it until `by` from now at least; answers until when, or `None` where it is already.
    pub(in crate::consumer) fn extend(
        &mut self,
        ticket: u64,
        by: Duration,
        now: Instant,
    ) -> Result<Option<Instant>> {
        let id = self.out(ticket, now)?;
        let until = now + by;
        let Some(held) = self.held.get_mut(&id) else {
            return Err(Revocation::Expired.to_error());
        };
        if until > held.received_at + LONGEST {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "a message of SQS cannot be kept for more than 12 hours from its receipt, and \
                     {by:?} from now is beyond"
                ),
            ));
        }
        if until <= held.visible_at {
            return Ok(None);
        }
        held.wanted = held.wanted.max(Some(until));
        self.set_timer(id);
        Ok(Some(until))
    }

    /// Whether it is hidden until then; an error where it never will be.
    pub(in crate::consumer) fn is_extended(
        &mut self,
        ticket: u64,
        until: Instant,
        now: Instant,
    ) -> Result<bool> {
        let id = self.out(ticket, now)?;
        // The service counts whole seconds, from when it was asked.
        let second = Duration::from_secs(1);
        Ok(self
            .held
            .get(&id)
            .is_some_and(|held| held.visible_at + second > until))
    }

    /// Gives one back to the queue: at once, or after what is left of its delay.
    pub(super) fn give_back(&mut self, id: u64, now: Instant) {
        let Some(held) = self.held.get(&id) else {
            return;
        };
        let until = match held.state {
            State::Acked => return,
            State::Waiting(until) => Some(until),
            State::Ready | State::Out(_) => None,
        };
        let longest = (held.received_at + LONGEST).since(now);
        let delay = until.map_or(Duration::ZERO, |until| until.since(now).min(longest));
        let handle = held.arrival.handle.clone();
        if held.visible_at > now {
            self.returns.push_back((handle, delay));
            self.returned += 1;
        }
        let Some(held) = self.remove(id) else { return };
        if held.runs > 0 || until.is_some() {
            let note = Note {
                runs: held.runs,
                until,
                done: false,
            };
            self.memory.note(held.arrival.message, note);
        }
    }

    /// The next deletion, where it is time.
    pub(super) fn next_delete(&mut self, now: Instant) -> Option<Vec<(u64, SmallStr)>> {
        let since = self.oldest_delete?;
        let nobody_works = self.tickets.is_empty();
        let due =
            self.hurry || nobody_works || self.deletes.len() >= BATCH || now >= since + LINGER;
        if !due || now < self.deletes_wait || self.deleting >= DELETIONS {
            return None;
        }
        let mut messages = Vec::new();
        while messages.len() < BATCH {
            let Some(id) = self.deletes.pop_front() else {
                break;
            };
            if let Some(held) = self.held.get(&id) {
                messages.push((id, held.arrival.handle.clone()));
            }
        }
        if self.deletes.is_empty() {
            self.oldest_delete = None;
        }
        if messages.is_empty() {
            return None;
        }
        self.deleting += 1;
        Some(messages)
    }

    /// What became of a deletion.
    pub(in crate::consumer) fn deleted(
        &mut self,
        messages: &[(u64, SmallStr)],
        outcomes: &[Result<()>],
        now: Instant,
    ) {
        self.deleting = self.deleting.saturating_sub(1);
        let mut failed = false;
        for ((id, handle), outcome) in messages.iter().zip(outcomes) {
            let Some(held) = self.held.get(id) else {
                continue;
            };
            match outcome {
                // It came again meanwhile: what was deleted is the older receipt.
                _ if held.arrival.handle != *handle => self.delete_again(*id, now),
                Ok(()) => {
                    if let Some(held) = self.remove(*id).filter(|_| !self.rules.ordered) {
                        self.note_done(held.arrival.message);
                    }
                }
                Err(error) if is_gone(error) => self.expire(*id, now),
                Err(error) => {
                    tracing::debug!(%error, "a handled message is not deleted yet");
                    failed = true;
                    self.delete_again(*id, now);
                }
            }
        }
        if failed {
            self.failed_deletes = self.failed_deletes.saturating_add(1);
            let wait = Duration::from_millis(50 << self.failed_deletes.min(6));
            self.deletes_wait = now + wait;
        } else {
            self.failed_deletes = 0;
        }
    }

    pub(super) fn delete_again(&mut self, id: u64, now: Instant) {
        if !self.deletes.contains(&id) {
            self.deletes.push_back(id);
            self.oldest_delete.get_or_insert(now);
        }
    }

    pub(super) fn note_done(&mut self, message: SmallStr) {
        let note = Note {
            done: true,
            ..Note::default()
        };
        self.memory.note(message, note);
    }

    /// Half of what may be held waits behind failures: more would keep others from coming.
    fn is_parked_full(&self) -> bool {
        if self.held.len() * 2 <= self.rules.max_unsettled
            && self.bytes * 2 <= self.rules.max_unsettled_bytes
        {
            return false;
        }
        let (mut count, mut bytes) = (0, 0);
        let mut add = |held: &super::Held| {
            count += 1;
            bytes += held.arrival.bytes;
        };
        for (id, held) in &self.held {
            if matches!(held.state, State::Waiting(_)) {
                add(held);
                for later in self.behind(*id) {
                    self.held.get(&later).into_iter().for_each(&mut add);
                }
            }
        }
        count * 2 > self.rules.max_unsettled || bytes * 2 > self.rules.max_unsettled_bytes
    }

    /// The message that is out under that ticket.
    fn out(&mut self, ticket: u64, now: Instant) -> Result<u64> {
        match self.revocation(ticket, now) {
            Some(why) => Err(why.to_error()),
            None => self
                .tickets
                .get(&ticket)
                .copied()
                .ok_or_else(|| Revocation::Expired.to_error()),
        }
    }
}

/// Whether a receipt counts no more.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Revoked | ErrorKind::Invalid)
}

impl Command {
    #[cfg(test)]
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Receive { .. } => "receive",
            Self::Delete { .. } => "delete",
            Self::Extend { .. } => "extend",
            Self::Return { .. } => "return",
        }
    }
}

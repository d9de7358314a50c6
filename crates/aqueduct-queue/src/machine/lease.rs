use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Instant, Result, Revocation, SmallStr};

use super::Machine;
use super::messages::{InFlight, State};
use super::recent::Note;
use super::settle::is_gone;

const SECOND: Duration = Duration::from_secs(1);

impl Machine {
    /// Asks for a lease of `by` from now; returns its end, or `None` if it lasts that long.
    pub(crate) fn extend(
        &mut self,
        ticket: u64,
        by: Duration,
        now: Instant,
    ) -> Result<Option<Instant>> {
        let number = self.delivered(ticket, now)?;
        let until = now + by;
        let longest = self.longest_lease();
        let Some(it) = self.messages.get_mut(number) else {
            return Err(Revocation::Expired.to_error());
        };
        if until > it.received_at + longest {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "a message of this queue can be kept for {:?} from its receipt, and {by:?} \
                     from now is later",
                    self.settings.longest_lease
                ),
            ));
        }
        if until <= it.lease_end {
            return Ok(None);
        }
        it.extend_until = it.extend_until.max(Some(until));
        self.set_timer(number);
        Ok(Some(until))
    }

    /// Returns whether the lease of a delivery lasts until then.
    pub(crate) fn is_extended(
        &mut self,
        ticket: u64,
        until: Instant,
        now: Instant,
    ) -> Result<bool> {
        let number = self.delivered(ticket, now)?;
        // The service counts whole seconds, from when it was asked.
        let it = self.messages.get(number);
        Ok(it.is_some_and(|it| it.lease_end + SECOND > until))
    }

    /// Ends what is due; returns the leases to extend, and for how long from now.
    pub(super) fn fire(&mut self, now: Instant) -> Vec<(u64, SmallStr, Duration)> {
        let (lease, longest) = (self.lease(), self.longest_lease());
        let mut extend = Vec::new();
        while let Some(number) = self.messages.next_due(now) {
            let Some(it) = self.messages.get_mut(number) else {
                break;
            };
            if it.lease_end <= now {
                self.expire(number, now);
                continue;
            }
            match it.state {
                State::Delayed(until) if until <= now => {
                    self.messages.set_state(number, State::Ready);
                }
                _ => {
                    it.extending = true;
                    it.extend_after = None;
                    let longest = (it.received_at + longest).since(now);
                    let time = wanted_end(it, lease, now).since(now).min(longest);
                    // Whole seconds, rounded down to stay within the service's limit.
                    let time = Duration::from_secs(time.as_secs());
                    extend.push((number, it.message.receipt.clone(), time));
                }
            }
            self.set_timer(number);
        }
        extend
    }

    /// Takes the outcomes of extensions requested at `asked`; returns whether to warn of a failure.
    pub(crate) fn extended(
        &mut self,
        messages: &[(u64, SmallStr, Duration)],
        outcomes: &[Result<()>],
        asked: Instant,
        now: Instant,
    ) -> bool {
        let mut failure = None;
        for ((number, receipt, time), outcome) in messages.iter().zip(outcomes) {
            let Some(it) = self.messages.get_mut(*number) else {
                continue;
            };
            it.extending = false;
            match outcome {
                // It came again meanwhile, with a lease of its own.
                _ if it.message.receipt != *receipt => {}
                Ok(()) => it.lease_end = asked + *time,
                Err(error) if is_gone(error) => {
                    self.expire(*number, now);
                    continue;
                }
                Err(error) => {
                    let left = it.lease_end.since(now);
                    let wait = (left / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
                    it.extend_after = Some(now + wait);
                    failure = Some(error.clone());
                }
            }
            if it
                .extend_until
                .is_some_and(|until| until <= it.lease_end + SECOND)
            {
                it.extend_until = None;
            }
            self.set_timer(*number);
        }
        match failure {
            Some(error) => self.leases.failures.failed(error, now),
            None => self.leases.failures.succeeded(),
        }
        self.leases.failures.take_warning(now)
    }

    /// Lets go of a message whose lease has ended, and of those behind it.
    pub(super) fn expire(&mut self, number: u64, now: Instant) {
        let behind = self.messages.behind(number);
        if let Some(it) = self.messages.get_mut(number)
            && matches!(it.state, State::Delivered(_))
        {
            // A handler had it for the whole lease: that was an attempt.
            it.runs = it.runs.saturating_add(1);
            self.revoke(number, Revocation::Expired);
        }
        let Some(it) = self.messages.remove(number) else {
            return;
        };
        self.leases.expired += 1;
        if self.settings.client_leases {
            self.releases.forget(it.message.receipt.clone());
        }
        if it.state == State::Acked {
            // It was handled: if it comes again it is acknowledged again, and nothing behind it
            // has to wait.
            self.acks.lose();
            self.recent.note_done(it.message.id);
            return;
        }
        if it.runs > 0 {
            let note = Note {
                runs: it.runs,
                ..Note::default()
            };
            self.recent.note(it.message.id, note);
        }
        // It was not handled and comes before all of these (rule 2).
        for later in behind {
            self.revoke(later, Revocation::Superseded);
            self.release(later, now);
        }
    }

    /// Sets when a message is looked at next: the end of its lease or delay, or the time to extend.
    pub(super) fn set_timer(&mut self, number: u64) {
        let (lease, longest) = (self.lease(), self.longest_lease());
        let Some(it) = self.messages.get(number) else {
            return;
        };
        let mut at = it.lease_end;
        let extensible =
            !self.settings.client_leases && it.lease_end + SECOND < it.received_at + longest;
        if extensible && !it.extending {
            let due = match it.extend_until {
                Some(until) if until > it.lease_end => Instant::default(),
                _ => it.lease_end - lease / 2,
            };
            at = at.min(it.extend_after.map_or(due, |after| after.max(due)));
        }
        if let State::Delayed(until) = it.state {
            at = at.min(until);
        }
        self.messages.set_timer(number, at);
    }
}

/// Returns when the next lease should end: after the usual time, and over a whole delay at once.
fn wanted_end(it: &InFlight, lease: Duration, now: Instant) -> Instant {
    let delayed = match it.state {
        State::Delayed(until) => until + lease,
        _ => now,
    };
    (now + lease)
        .max(delayed)
        .max(it.extend_until.unwrap_or_default())
}

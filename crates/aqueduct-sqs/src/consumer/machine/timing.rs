use std::time::Duration;

use aqueduct_core::{Instant, Result, Revocation, SmallStr};

use super::held::{Held, State};
use super::memory::Note;
use super::settling::is_gone;
use super::{LONGEST, Machine};

impl Machine {
    /// Does what is due; answers whose time is to be extended, and until when from now.
    pub(super) fn fire(&mut self, now: Instant) -> Vec<(u64, SmallStr, Duration)> {
        let mut extend = Vec::new();
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            let Some(held) = self.held.get_mut(&id) else {
                self.timers.pop_first();
                continue;
            };
            if held.visible_at <= now {
                self.expire(id, now);
                continue;
            }
            match held.state {
                State::Waiting(until) if until <= now => {
                    held.state = State::Ready;
                    self.index(id);
                }
                _ => {
                    held.extending = true;
                    held.extend_after = None;
                    let longest = (held.received_at + LONGEST).since(now);
                    let time = wish(held, self.rules.visibility, now).since(now);
                    let time = whole_seconds(time.min(longest));
                    extend.push((id, held.arrival.handle.clone(), time));
                }
            }
            self.set_timer(id);
        }
        extend
    }

    /// What became of extensions that were asked for at `asked`.
    pub(in crate::consumer) fn extended(
        &mut self,
        messages: &[(u64, SmallStr, Duration)],
        outcomes: &[Result<()>],
        asked: Instant,
        now: Instant,
    ) {
        for ((id, handle, time), outcome) in messages.iter().zip(outcomes) {
            let Some(held) = self.held.get_mut(id) else {
                continue;
            };
            held.extending = false;
            match outcome {
                _ if held.arrival.handle != *handle => {}
                Ok(()) => held.visible_at = asked + *time,
                Err(error) if is_gone(error) => {
                    self.expire(*id, now);
                    continue;
                }
                Err(error) => {
                    let left = held.visible_at.since(now);
                    tracing::warn!(%error, ?left, "a message's time is not extended yet");
                    let wait = (left / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
                    held.extend_after = Some(now + wait);
                }
            }
            if held
                .wanted
                .is_some_and(|until| until <= held.visible_at + Duration::from_secs(1))
            {
                held.wanted = None;
            }
            self.set_timer(*id);
        }
    }

    /// A message that is no longer hidden from others: it goes, and so does what is behind it.
    pub(super) fn expire(&mut self, id: u64, now: Instant) {
        let behind = self.behind(id);
        self.take_back_expired(id);
        let Some(held) = self.remove(id) else { return };
        self.expired += 1;
        let message = held.arrival.message.clone();
        if held.state == State::Acked {
            // Handled and not deleted: if it comes again, it is deleted again.
            self.lost_acks += 1;
            self.note_done(message);
        } else if held.runs > 0 {
            let note = Note {
                runs: held.runs,
                ..Note::default()
            };
            self.memory.note(message, note);
        }
        if held.state == State::Acked {
            return;
        }
        // It was not handled, and comes before all of these.
        for later in behind {
            self.take_back(later, Revocation::Superseded);
            self.give_back(later, now);
        }
    }

    /// When to look at it next.
    pub(super) fn set_timer(&mut self, id: u64) {
        let visibility = self.rules.visibility;
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let mut at = held.visible_at;
        let last = held.received_at + LONGEST;
        let extensible = held.visible_at + Duration::from_secs(1) < last;
        if extensible && !held.extending {
            let due = match held.wanted {
                Some(until) if until > held.visible_at => Instant::default(),
                _ => held.visible_at - visibility / 2,
            };
            at = at.min(held.extend_after.map_or(due, |after| after.max(due)));
        }
        if let State::Waiting(until) = held.state {
            at = at.min(until);
        }
        self.timers.remove(&(held.timer, id));
        held.timer = at;
        self.timers.insert((at, id));
    }

    /// A handler that had it until its time ran out has failed an attempt.
    fn take_back_expired(&mut self, id: u64) {
        if let Some(held) = self.held.get_mut(&id)
            && matches!(held.state, State::Out(_))
        {
            held.runs = held.runs.saturating_add(1);
            self.take_back(id, Revocation::Expired);
        }
    }
}

/// Until when a message should be hidden: its usual time, and over a delay at once.
fn wish(held: &Held, visibility: Duration, now: Instant) -> Instant {
    let usual = now + visibility;
    let delayed = match held.state {
        State::Waiting(until) => until + visibility,
        _ => usual,
    };
    usual.max(delayed).max(held.wanted.unwrap_or_default())
}

/// The service counts whole seconds, and rounding down stays within its limit.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

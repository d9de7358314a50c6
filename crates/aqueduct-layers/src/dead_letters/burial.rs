use std::time::Duration;

use aqueduct_core::{
    Admission, Assignment, Delivery, Error, ErrorKind, Event, Letter, LetterReason, Next, Parts,
    Result, Settlement, Settling, Text,
};
use metrics::counter;

use super::OnExhausted;
use super::interceptor::{Burials, lock};
use super::records::{Fate, Place};

/// An event that is to be buried.
pub(super) struct Doomed {
    pub(super) place: Place,
    pub(super) letter: Letter,
    pub(super) ticket: u64,
    pub(super) tries: u32,
}

impl Burials {
    pub(super) fn letter(
        &self,
        assignment: &Assignment,
        parts: &Parts,
        reason: LetterReason,
        message: Text,
        attempts: u32,
    ) -> Letter {
        let mut letter = Letter::new(
            parts.event.clone(),
            assignment.stream.clone(),
            assignment.group.clone(),
            reason,
            message,
            self.runtime.wall(),
        );
        let given_up = matches!(reason, LetterReason::Exhausted | LetterReason::Poison);
        letter.partition = assignment.partition.clone();
        letter.position = parts.position;
        letter.stored_at = parts.stored_at;
        letter.attempts = attempts;
        letter.holds_key = given_up
            && self.options.on_exhausted == OnExhausted::LetterKey
            && parts.event.key().is_some();
        letter.failures = self
            .record(&Place::of(assignment, parts))
            .map(|record| record.failures)
            .unwrap_or_default();
        letter
    }

    /// Buries one and says how its delivery is settled then.
    pub(super) async fn bury(&self, assignment: &Assignment, doomed: Doomed) -> Settlement {
        let outcome = self.queue.bury(std::slice::from_ref(&doomed.letter)).await;
        let outcome = outcome.into_iter().next().unwrap_or_else(unanswered);
        self.buried(assignment, doomed, outcome)
    }

    pub(super) fn buried(
        &self,
        assignment: &Assignment,
        doomed: Doomed,
        outcome: Result<()>,
    ) -> Settlement {
        let Doomed {
            place,
            letter,
            ticket,
            tries,
        } = doomed;
        match outcome {
            Ok(()) => {
                count(&letter);
                // Known as a letter until it is settled: that may fail, or be asked again.
                lock(&self.records).decide(place, Fate::Buried { ticket });
                match letter.event.key_text() {
                    Some(key) if letter.holds_key => {
                        lock(&self.held).hold(assignment, key.clone(), self.runtime.now());
                        self.leave(assignment, &letter.event)
                    }
                    _ => Settlement::Ack,
                }
            }
            Err(error) => {
                let tries = tries.saturating_add(1);
                let delay = self.options.bury_backoff.delay(tries, &self.runtime);
                tracing::warn!(
                    event = %letter.event.id(),
                    stream = %letter.stream,
                    group = %letter.group,
                    %error,
                    tries,
                    "a letter could not be buried, the event stays unsettled"
                );
                counter!("aqueduct_dead_letters_failed_burials_total",
                    "stream" => letter.stream.to_string(), "group" => letter.group.to_string())
                .increment(1);
                let fate = Fate::Doomed {
                    reason: letter.reason,
                    message: letter.message,
                    attempts: letter.attempts,
                    tries,
                };
                lock(&self.records).decide(place, fate);
                Settlement::Defer { delay }
            }
        }
    }

    /// How the delivery of a letter is settled that has just been given up.
    fn leave(&self, assignment: &Assignment, event: &Event) -> Settlement {
        let held = |key: &str| lock(&self.held).holds(assignment, key);
        if event.key().is_some_and(held) {
            // Its later events may be out already: as it comes again, they come behind it, and
            // follow.
            Settlement::Defer {
                delay: Duration::ZERO,
            }
        } else {
            Settlement::Ack
        }
    }

    pub(super) fn give_up<'a>(
        &'a self,
        parts: &'a Parts,
        reason: LetterReason,
        message: Text,
        next: Next<'a>,
    ) -> Settling<'a> {
        Settling::pending(async move {
            let assignment = next.settler().assignment();
            let place = Place::of(assignment, parts);
            let settlement = match self.record(&place).map(|record| record.fate) {
                // A settlement that is tried again: the letter is there.
                Some(fate) if fate.is_buried(parts) => self.leave(assignment, &parts.event),
                _ => {
                    let letter = self.letter(assignment, parts, reason, message, parts.attempt);
                    let doomed = Doomed {
                        place: place.clone(),
                        letter,
                        ticket: parts.ticket,
                        tries: 0,
                    };
                    self.bury(assignment, doomed).await
                }
            };
            let done = matches!(settlement, Settlement::Ack);
            next.settle(parts, settlement).await?;
            if done {
                lock(&self.records).forget(&place);
            }
            Ok(())
        })
    }

    pub(super) async fn bury_all(
        &self,
        deliveries: &[Delivery],
        doomed: Vec<Doomed>,
    ) -> Vec<Admission> {
        let letters: Vec<Letter> = doomed.iter().map(|it| it.letter.clone()).collect();
        let mut outcomes = self.queue.bury(&letters).await.into_iter();
        doomed
            .into_iter()
            .zip(deliveries)
            .map(|(doomed, delivery)| {
                let outcome = outcomes.next().unwrap_or_else(unanswered);
                Admission::Settle(self.buried(delivery.assignment(), doomed, outcome))
            })
            .collect()
    }
}

fn count(letter: &Letter) {
    tracing::warn!(
        event = %letter.event.id(),
        stream = %letter.stream,
        group = %letter.group,
        reason = letter.reason.as_str(),
        message = %letter.message,
        "an event became a letter"
    );
    counter!("aqueduct_dead_letters_total",
        "stream" => letter.stream.to_string(), "group" => letter.group.to_string(),
        "reason" => letter.reason.as_str())
    .increment(1);
}

fn unanswered() -> Result<()> {
    Err(Error::new(
        ErrorKind::Internal,
        "the dead letter queue gave no answer for a letter",
    ))
}

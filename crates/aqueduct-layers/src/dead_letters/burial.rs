use std::time::Duration;

use aqueduct_core::{
    Admission, Assignment, DeadLetter, DeadLetterReason, Delivery, Error, ErrorKind, Event, Next,
    Parts, Result, Settlement, Settling, SmallStr,
};
use metrics::counter;

use super::OnExhausted;
use super::interceptor::{Burials, lock};
use super::records::{Fate, Place};

/// An event that is to be buried.
pub(super) struct Doomed {
    pub(super) place: Place,
    pub(super) dead_letter: DeadLetter,
    pub(super) ticket: u64,
    pub(super) tries: u32,
}

impl Burials {
    pub(super) fn dead_letter(
        &self,
        assignment: &Assignment,
        parts: &Parts,
        reason: DeadLetterReason,
        message: SmallStr,
        attempts: u32,
    ) -> DeadLetter {
        let mut dead_letter = DeadLetter::new(
            parts.event.clone(),
            assignment.stream.clone(),
            assignment.group.clone(),
            reason,
            message,
            self.runtime.wall(),
        );
        let given_up = matches!(
            reason,
            DeadLetterReason::Exhausted | DeadLetterReason::Poison
        );
        dead_letter.partition = assignment.partition.clone();
        dead_letter.position = parts.position;
        dead_letter.stored_at = parts.stored_at;
        dead_letter.attempts = attempts;
        dead_letter.holds_key = given_up
            && self.options.on_exhausted == OnExhausted::DivertKey
            && parts.event.key().is_some();
        dead_letter.failures = self
            .record(&Place::of(assignment, parts))
            .map(|record| record.failures)
            .unwrap_or_default();
        dead_letter
    }

    /// Buries one and says how its delivery is settled then.
    pub(super) async fn put(&self, assignment: &Assignment, doomed: Doomed) -> Settlement {
        let outcome = self
            .queue
            .put(std::slice::from_ref(&doomed.dead_letter))
            .await;
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
            dead_letter,
            ticket,
            tries,
        } = doomed;
        match outcome {
            Ok(()) => {
                count(&dead_letter);
                // Known as a dead letter until it is settled: that may fail, or be asked again.
                lock(&self.records).decide(place, Fate::Buried { ticket });
                match dead_letter.event.key_text() {
                    Some(key) if dead_letter.holds_key => {
                        lock(&self.held).hold(assignment, key.clone(), self.runtime.now());
                        self.leave(assignment, &dead_letter.event)
                    }
                    _ => Settlement::Ack,
                }
            }
            Err(error) => {
                let tries = tries.saturating_add(1);
                let delay = self.options.bury_backoff.delay(tries, &self.runtime);
                tracing::warn!(
                    event = %dead_letter.event.id(),
                    stream = %dead_letter.stream,
                    group = %dead_letter.group,
                    %error,
                    tries,
                    "a dead letter could not be buried, the event stays unsettled"
                );
                counter!("aqueduct_dead_letters_failed_burials_total",
                    "stream" => dead_letter.stream.to_string(), "group" => dead_letter.group.to_string())
                .increment(1);
                let fate = Fate::Doomed {
                    reason: dead_letter.reason,
                    message: dead_letter.message,
                    attempts: dead_letter.attempts,
                    tries,
                };
                lock(&self.records).decide(place, fate);
                Settlement::Defer { delay }
            }
        }
    }

    /// How the delivery of a dead letter is settled that has just been given up.
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
        reason: DeadLetterReason,
        message: SmallStr,
        next: Next<'a>,
    ) -> Settling<'a> {
        Settling::pending(async move {
            let assignment = next.settler().assignment();
            let place = Place::of(assignment, parts);
            let settlement = match self.record(&place).map(|record| record.fate) {
                // A settlement that is tried again: the dead letter is there.
                Some(fate) if fate.is_buried(parts) => self.leave(assignment, &parts.event),
                _ => {
                    let dead_letter =
                        self.dead_letter(assignment, parts, reason, message, parts.attempt);
                    let doomed = Doomed {
                        place: place.clone(),
                        dead_letter,
                        ticket: parts.ticket,
                        tries: 0,
                    };
                    self.put(assignment, doomed).await
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
        let dead_letters: Vec<DeadLetter> =
            doomed.iter().map(|it| it.dead_letter.clone()).collect();
        let mut outcomes = self.queue.put(&dead_letters).await.into_iter();
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

fn count(dead_letter: &DeadLetter) {
    tracing::warn!(
        event = %dead_letter.event.id(),
        stream = %dead_letter.stream,
        group = %dead_letter.group,
        reason = dead_letter.reason.as_str(),
        message = %dead_letter.message,
        "an event became a dead letter"
    );
    counter!("aqueduct_dead_letters_total",
        "stream" => dead_letter.stream.to_string(), "group" => dead_letter.group.to_string(),
        "reason" => dead_letter.reason.as_str())
    .increment(1);
}

fn unanswered() -> Result<()> {
    Err(Error::new(
        ErrorKind::Internal,
        "the dead letter queue gave no answer for a dead letter",
    ))
}

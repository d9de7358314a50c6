use std::time::Duration;

use aqueduct_core::{
    Admission, Assignment, DeadLetter, DeadLetterReason, Delivery, Error, ErrorKind, Event, Next,
    Parts, Result, Settlement, Settling, SmallStr,
};
use metrics::counter;

use super::OnExhausted;
use super::interceptor::DeadLetterInterceptor;
use super::records::{Decision, Place};
use aqueduct_core::sync::lock;

/// An event that becomes a dead letter.
pub(super) struct GivenUp {
    pub(super) place: Place,
    pub(super) dead_letter: DeadLetter,
    pub(super) ticket: u64,
    pub(super) tries: u32,
}

impl DeadLetterInterceptor {
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

    /// Writes one dead letter and returns how its delivery is settled.
    pub(super) async fn put(&self, assignment: &Assignment, given_up: GivenUp) -> Settlement {
        let outcome = self
            .queue
            .put(std::slice::from_ref(&given_up.dead_letter))
            .await;
        let outcome = outcome.into_iter().next().unwrap_or_else(missing_outcome);
        self.stored(assignment, given_up, outcome)
    }

    pub(super) fn stored(
        &self,
        assignment: &Assignment,
        given_up: GivenUp,
        outcome: Result<()>,
    ) -> Settlement {
        let GivenUp {
            place,
            dead_letter,
            ticket,
            tries,
        } = given_up;
        match outcome {
            Ok(()) => {
                count(&dead_letter);
                // Remembered until the delivery is settled, which may fail: it must not be written twice.
                lock(&self.records).decide(place, Decision::Stored { ticket });
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
                let delay = self.options.put_backoff.delay(tries, &self.runtime);
                tracing::warn!(
                    event = %dead_letter.event.id(),
                    stream = %dead_letter.stream,
                    group = %dead_letter.group,
                    %error,
                    tries,
                    "the dead letter was not written; the event stays unsettled and the write is retried"
                );
                counter!("aqueduct_dead_letters_failed_puts_total",
                    "stream" => dead_letter.stream.to_string(), "group" => dead_letter.group.to_string())
                .increment(1);
                let decision = Decision::GivenUp {
                    reason: dead_letter.reason,
                    message: dead_letter.message,
                    attempts: dead_letter.attempts,
                    tries,
                };
                lock(&self.records).decide(place, decision);
                Settlement::Defer { delay }
            }
        }
    }

    /// Returns how the delivery of a stored dead letter is settled.
    fn leave(&self, assignment: &Assignment, event: &Event) -> Settlement {
        let held = |key: &str| lock(&self.held).holds(assignment, key);
        if event.key().is_some_and(held) {
            // Later events of the key may be out already: a deferral brings them back behind this one,
            // and they are diverted too (rule 4).
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
            let settlement = match self.record(&place).map(|record| record.decision) {
                // The settlement is retried: the dead letter is stored already.
                Some(decision) if decision.is_stored(parts) => self.leave(assignment, &parts.event),
                _ => {
                    let dead_letter =
                        self.dead_letter(assignment, parts, reason, message, parts.attempt);
                    let given_up = GivenUp {
                        place: place.clone(),
                        dead_letter,
                        ticket: parts.ticket,
                        tries: 0,
                    };
                    self.put(assignment, given_up).await
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

    pub(super) async fn put_all(
        &self,
        deliveries: &[Delivery],
        given_up: Vec<GivenUp>,
    ) -> Vec<Admission> {
        let dead_letters: Vec<DeadLetter> =
            given_up.iter().map(|it| it.dead_letter.clone()).collect();
        let mut outcomes = self.queue.put(&dead_letters).await.into_iter();
        given_up
            .into_iter()
            .zip(deliveries)
            .map(|(given_up, delivery)| {
                let outcome = outcomes.next().unwrap_or_else(missing_outcome);
                Admission::Settle(self.stored(delivery.assignment(), given_up, outcome))
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

fn missing_outcome() -> Result<()> {
    Err(Error::new(
        ErrorKind::Internal,
        "the dead letter queue returned fewer outcomes than dead letters",
    ))
}

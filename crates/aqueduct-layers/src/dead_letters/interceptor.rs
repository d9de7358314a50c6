use std::sync::{Arc, Mutex};

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Abandoned, Admission, Assignment, DeadLetterQueue, DeadLetterReason, DeadLetterStore, Delivery,
    Failure, Interceptor, Next, Parts, Result, Runtime, Settlement, Settler, Settling, SmallStr,
    error_chain,
};
use async_trait::async_trait;

use super::held::HeldKeys;
use super::records::{Decision, Place, Record, Records};
use super::write::GivenUp;
use super::{DeadLetterOptions, OnExhausted, reason_of};

pub(super) struct DeadLetterInterceptor {
    pub(super) queue: Arc<dyn DeadLetterQueue>,
    pub(super) dead_letters: Option<Arc<dyn DeadLetterStore>>,
    pub(super) options: DeadLetterOptions,
    pub(super) runtime: Runtime,
    pub(super) records: Mutex<Records>,
    pub(super) held: Mutex<HeldKeys>,
}

impl DeadLetterInterceptor {
    /// Decides about a delivery before a handler sees it.
    fn judge(&self, assignment: &Assignment, parts: &Parts) -> Verdict {
        let place = Place::of(assignment, parts);
        let record = self.record(&place);
        let limit = self.options.attempts;
        match record.as_ref().map(|record| &record.decision) {
            Some(decision) if decision.is_stored(parts) => return Verdict::Settled,
            Some(Decision::GivenUp {
                reason,
                message,
                attempts,
                tries,
            }) => {
                let (reason, message) = (*reason, message.clone());
                let dead_letter = self.dead_letter(assignment, parts, reason, message, *attempts);
                return Verdict::Put(Box::new(GivenUp {
                    place,
                    dead_letter,
                    ticket: parts.ticket,
                    tries: *tries,
                }));
            }
            _ => {}
        }
        let key = parts.event.key();
        if key.is_some_and(|key| lock(&self.held).holds(assignment, key)) {
            let message = SmallStr::literal("an earlier event of its key is a dead letter");
            let attempts = parts.attempt.saturating_sub(1);
            let dead_letter = self.dead_letter(
                assignment,
                parts,
                DeadLetterReason::KeyHeld,
                message,
                attempts,
            );
            return Verdict::Put(Box::new(GivenUp {
                place,
                dead_letter,
                ticket: parts.ticket,
                tries: 0,
            }));
        }
        if parts.attempt > limit && self.options.on_exhausted != OnExhausted::Block {
            let last = record.and_then(|it| it.failures.last().map(|last| last.error.clone()));
            let (reason, message) = match last {
                Some(error) => (DeadLetterReason::Exhausted, error),
                None => (
                    DeadLetterReason::Poison,
                    SmallStr::literal("the process died while it was being handled"),
                ),
            };
            let attempts = parts.attempt - 1;
            let dead_letter = self.dead_letter(assignment, parts, reason, message, attempts);
            return Verdict::Put(Box::new(GivenUp {
                place,
                dead_letter,
                ticket: parts.ticket,
                tries: 0,
            }));
        }
        Verdict::Pass
    }

    /// Reads the diverted keys if they are unknown or too old.
    async fn read_held_keys(&self, deliveries: &[Delivery]) -> Result<()> {
        let Some(dead_letters) = &self.dead_letters else {
            return Ok(());
        };
        if self.options.on_exhausted != OnExhausted::DivertKey {
            return Ok(());
        }
        for delivery in deliveries {
            let assignment = delivery.assignment();
            let now = self.runtime.now();
            if lock(&self.held).are_known(assignment, now - self.options.refresh) {
                continue;
            }
            let (group, stream) = (&assignment.group, &assignment.stream);
            let keys = dead_letters.held_keys(group, stream).await?;
            lock(&self.held).read(assignment, keys, now);
        }
        Ok(())
    }

    fn note_failure(&self, assignment: &Assignment, parts: &Parts, error: SmallStr) {
        let failure = Failure {
            attempt: parts.attempt,
            at: self.runtime.wall(),
            error,
        };
        lock(&self.records).failed(Place::of(assignment, parts), failure);
    }

    pub(super) fn record(&self, place: &Place) -> Option<Record> {
        let records = lock(&self.records);
        if records.is_empty() {
            return None;
        }
        records.get(place).cloned()
    }
}

enum Verdict {
    Pass,
    Settled,
    Put(Box<GivenUp>),
}

#[async_trait]
impl Interceptor for DeadLetterInterceptor {
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>> {
        self.read_held_keys(deliveries).await?;
        let mut admissions = Vec::with_capacity(deliveries.len());
        // In order: a key that is diverted by one delivery concerns those behind it.
        let mut at = 0;
        while at < deliveries.len() {
            let delivery = &deliveries[at];
            let assignment = delivery.assignment();
            match self.judge(assignment, delivery.parts()) {
                Verdict::Pass => admissions.push(Admission::Pass),
                Verdict::Settled => admissions.push(Admission::Settle(Settlement::Ack)),
                Verdict::Put(given_up)
                    if given_up.dead_letter.reason == DeadLetterReason::KeyHeld =>
                {
                    let followers = self.followers(*given_up, &deliveries[at..]);
                    at += followers.len();
                    admissions.extend(
                        self.put_all(&deliveries[at - followers.len()..], followers)
                            .await,
                    );
                    continue;
                }
                Verdict::Put(given_up) => {
                    let held = given_up.dead_letter.holds_key;
                    let settlement = self.put(assignment, *given_up).await;
                    // Nothing behind it is out yet, so it does not have to come again.
                    let stored = held
                        && matches!(settlement, Settlement::Defer { delay } if delay.is_zero());
                    let settlement = if stored { Settlement::Ack } else { settlement };
                    admissions.push(Admission::Settle(settlement));
                }
            }
            at += 1;
        }
        Ok(admissions)
    }

    fn settle<'a>(
        &'a self,
        parts: &'a Parts,
        settlement: Settlement,
        next: Next<'a>,
    ) -> Settling<'a> {
        match settlement {
            Settlement::Nack { delay, error } => {
                let assignment = next.settler().assignment();
                let message = error
                    .as_ref()
                    .map_or(SmallStr::literal("the attempt failed"), |it| {
                        error_chain(it).into()
                    });
                self.note_failure(assignment, parts, message.clone());
                let last = parts.attempt >= self.options.attempts;
                if last && self.options.on_exhausted != OnExhausted::Block {
                    return self.give_up(parts, DeadLetterReason::Exhausted, message, next);
                }
                next.settle(parts, Settlement::Nack { delay, error })
            }
            Settlement::Reject { reason } => {
                self.note_failure(next.settler().assignment(), parts, reason.clone());
                self.give_up(parts, reason_of(&reason), reason, next)
            }
            Settlement::Ack => {
                let place = Place::of(next.settler().assignment(), parts);
                if self.record(&place).is_none() {
                    return next.settle(parts, Settlement::Ack);
                }
                Settling::pending(async move {
                    next.settle(parts, Settlement::Ack).await?;
                    lock(&self.records).forget(&place);
                    Ok(())
                })
            }
            other => next.settle(parts, other),
        }
    }

    fn abandoned(&self, parts: &Parts, settler: &dyn Settler, why: Abandoned) {
        // Only the receiver's own drop is a failure: a cancelled handler has not failed (rule 5).
        if why == Abandoned::Dropped && settler.revocation(parts).is_none() {
            let message = SmallStr::literal("the delivery was dropped unsettled");
            self.note_failure(settler.assignment(), parts, message);
        }
    }
}

impl DeadLetterInterceptor {
    /// Returns the consecutive dead letters from the first of `deliveries` on, for one call.
    fn followers(&self, first: GivenUp, deliveries: &[Delivery]) -> Vec<GivenUp> {
        let mut followers = vec![first];
        for delivery in &deliveries[1..] {
            match self.judge(delivery.assignment(), delivery.parts()) {
                Verdict::Put(given_up)
                    if given_up.dead_letter.reason == DeadLetterReason::KeyHeld =>
                {
                    followers.push(*given_up);
                }
                _ => break,
            }
        }
        followers
    }
}

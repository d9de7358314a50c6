use std::future::Future;
use std::time::Duration;

use aqueduct_core::{
    Abandoned, Backoff, Delivery, Error, ErrorKind, Instant, Revocation, Settlement,
};
use futures::future::{Either, select};

use super::control::{Control, Level};
use super::engine::Engine;
use super::outcome::Outcome;

/// The wait before a failed settlement is retried: short at first, since the event's key waits for
/// it.
const SETTLE_AGAIN: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));

impl Engine {
    /// Handles the events of one run in order, and settles each before the next begins. Returns
    /// those that were not begun.
    pub(crate) async fn handle_run(
        &self,
        entry: Option<usize>,
        run: Vec<Delivery>,
        control: &Control,
    ) -> Vec<Delivery> {
        let mut rest = run.into_iter();
        while control.level() == Level::Run {
            let Some(delivery) = rest.next() else {
                break;
            };
            match delivery.revoked().reason() {
                None => {}
                // It comes again behind the event of its key that failed.
                Some(Revocation::Superseded) => continue,
                Some(why) => {
                    self.refused(&delivery, &why.to_error());
                    continue;
                }
            }
            let attempt = self.attempt(entry, delivery.parts(), delivery.assignment());
            let kept = [&delivery];
            let outcome = self.keeping(&kept, attempt).await;
            // Only the consumer knows whether the rest of the run may go on: a nack supersedes it,
            // unless a layer made a dead letter of the event (rules 2 and 4).
            self.settle(delivery, outcome, control).await;
        }
        rest.collect()
    }

    /// Handles events together and settles them in order. Returns those that were not begun.
    pub(crate) async fn handle_batch(
        &self,
        entry: Option<usize>,
        batch: Vec<Delivery>,
        control: &Control,
    ) -> Vec<Delivery> {
        if control.level() != Level::Run {
            return batch;
        }
        let (batch, revoked): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|delivery| delivery.revoked().reason().is_none());
        drop(revoked);
        if batch.is_empty() {
            return Vec::new();
        }
        let items: Vec<_> = batch
            .iter()
            .map(|delivery| (delivery.parts(), delivery.assignment()))
            .collect();
        let kept: Vec<_> = batch.iter().collect();
        let outcomes = self.keeping(&kept, self.attempt_batch(entry, &items)).await;
        drop((items, kept));
        for (delivery, outcome) in batch.into_iter().zip(outcomes) {
            self.settle(delivery, outcome, control).await;
        }
        Vec::new()
    }

    /// Gives a delivery back; no attempt counts.
    pub(crate) async fn give_back(&self, delivery: Delivery) {
        let defer = Settlement::Defer {
            delay: Duration::ZERO,
        };
        if let Err(refused) = delivery.settle(defer).await {
            tracing::debug!(group = %self.group, error = %refused.error, "a delivery was not given back");
        }
    }

    /// Settles one delivery, with retries while that can help and the delivery may be settled.
    async fn settle(&self, mut delivery: Delivery, outcome: Outcome, control: &Control) {
        // A failure counts even if it cannot be reported; any other outcome does not become one.
        delivery.drop_as(match outcome {
            Outcome::Retry { .. } => Abandoned::Dropped,
            _ => Abandoned::Cancelled,
        });
        let settlement = outcome.into_settlement();
        for attempt in 1.. {
            let Err(refused) = delivery.settle(settlement.clone()).await else {
                return;
            };
            delivery = *refused.delivery;
            let stop = delivery.revoked().reason().is_some() || control.level() == Level::Abort;
            if stop || !refused.error.is_retryable() {
                self.refused(&delivery, &refused.error);
                return;
            }
            self.runtime
                .sleep(SETTLE_AGAIN.delay(attempt, &self.runtime))
                .await;
        }
    }

    fn refused(&self, delivery: &Delivery, error: &Error) {
        self.counters.unsettled.increment(1);
        let id = delivery.event().id();
        match error.kind() {
            ErrorKind::Superseded | ErrorKind::Revoked | ErrorKind::Closed => {
                tracing::debug!(group = %self.group, %id, %error, "an event was not settled");
            }
            _ => tracing::error!(group = %self.group, %id, %error, "an event was not settled"),
        }
    }

    /// Extends the deadlines of deliveries while `work` runs.
    async fn keeping<T>(&self, deliveries: &[&Delivery], work: impl Future<Output = T>) -> T {
        let deadline = deliveries.iter().filter_map(|it| it.deadline()).min();
        let Some(deadline) = deadline else {
            return work.await;
        };
        let window = deadline
            .since(self.runtime.now())
            .max(Duration::from_secs(1));
        futures::pin_mut!(work);
        loop {
            let half: Instant = self.runtime.now() + window / 2;
            match select(work, self.runtime.sleep_until(half)).await {
                Either::Left((done, _)) => return done,
                Either::Right(((), rest)) => work = rest,
            }
            for delivery in deliveries {
                if let Err(error) = delivery.extend(window).await {
                    let id = delivery.event().id();
                    tracing::warn!(group = %self.group, %id, %error, "a deadline was not extended");
                }
            }
        }
    }
}

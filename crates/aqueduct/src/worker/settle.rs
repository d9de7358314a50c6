use std::future::Future;
use std::time::Duration;

use aqueduct_core::{Backoff, Delivery, Error, ErrorKind, Instant, Settlement};
use futures::future::{Either, select};

use super::control::{Control, Level};
use super::engine::Engine;
use super::outcome::Outcome;

/// Between tries of a settlement that the store did not take: quick at first, since the event's
/// key waits for it.
const SETTLE_AGAIN: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));

impl Engine {
    /// Handles the events of one run in order, and settles each before the next begins. Answers
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
            if let Some(why) = delivery.revoked().reason() {
                self.refused(&delivery, &why.to_error());
                continue;
            }
            let attempt = self.attempt(entry, delivery.parts(), delivery.assignment());
            let kept = [&delivery];
            let outcome = self.keeping(&kept, attempt).await;
            if !self.settle(delivery, outcome, control).await {
                // What follows in the run comes again behind it.
                return Vec::new();
            }
        }
        rest.collect()
    }

    /// Handles events together and settles them in order. Answers those that were not begun.
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

    /// Gives a delivery back without an attempt.
    pub(crate) async fn give_back(&self, delivery: Delivery) {
        let defer = Settlement::Defer {
            delay: Duration::ZERO,
        };
        if let Err(refused) = delivery.settle(defer).await {
            tracing::debug!(group = %self.group, error = %refused.error, "a delivery was not given back");
        }
    }

    /// Settles one; answers whether the events behind it may go on.
    async fn settle(&self, delivery: Delivery, outcome: Outcome, control: &Control) -> bool {
        let done = !matches!(outcome, Outcome::Retry { .. });
        let settlement = outcome.into_settlement();
        let mut delivery = delivery;
        for attempt in 1.. {
            let Err(refused) = delivery.settle(settlement.clone()).await else {
                return done;
            };
            delivery = *refused.delivery;
            let stop = delivery.revoked().reason().is_some() || control.level() == Level::Abort;
            if stop || !refused.error.is_retryable() {
                self.refused(&delivery, &refused.error);
                break;
            }
            self.runtime
                .sleep(SETTLE_AGAIN.delay(attempt, &self.runtime))
                .await;
        }
        false
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

    /// Extends the deadlines of deliveries while they are worked on.
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

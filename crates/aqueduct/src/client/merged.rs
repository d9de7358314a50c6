use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Backoff, BatchConsumer, Capabilities, ConsumerStatus, Delivery, Error, Instant, Limits, Result,
    Retry, Runtime,
};
use async_trait::async_trait;
use futures::FutureExt as _;

/// The consumers of several streams as one. Each in turn is asked first, so that a busy stream does
/// not starve the others; one that fails backs off alone, so that it does not stop them.
pub(super) struct Merged {
    consumers: Vec<Arc<dyn BatchConsumer>>,
    rests: Mutex<Vec<Rest>>,
    runtime: Runtime,
    turn: AtomicUsize,
}

/// The back-off of a consumer that failed.
#[derive(Clone, Copy, Default)]
struct Rest {
    failures: u32,
    until: Instant,
}

/// The wait between failed receives of one stream.
const RECEIVE_AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

impl Merged {
    pub(super) fn new(consumers: Vec<Arc<dyn BatchConsumer>>, runtime: &Runtime) -> Self {
        Self {
            rests: Mutex::new(vec![Rest::default(); consumers.len()]),
            consumers,
            runtime: runtime.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    async fn receive_from(&self, at: usize, max: usize) -> Result<Vec<Delivery>> {
        let until = self.with_rest(at, |rest| rest.until);
        if until > self.runtime.now() {
            self.runtime.sleep_until(until).await;
        }
        let Some(consumer) = self.consumers.get(at) else {
            return Ok(Vec::new());
        };
        let received = consumer.receive_batch(max).await;
        let now = self.runtime.now();
        self.with_rest(at, |rest| match &received {
            Err(error) if error.is_retryable() => {
                rest.failures = rest.failures.saturating_add(1);
                rest.until = now
                    + match error.retry() {
                        Retry::After(hint) => hint,
                        _ => RECEIVE_AGAIN.delay(rest.failures, &self.runtime),
                    };
            }
            _ => *rest = Rest::default(),
        });
        // Its own wait is kept here; the caller may receive from the others at once.
        let at_once = |error: Error| match error.is_retryable() {
            true => error.with_retry(Retry::After(Duration::ZERO)),
            false => error,
        };
        received.map_err(at_once)
    }

    fn with_rest<T>(&self, at: usize, use_it: impl FnOnce(&mut Rest) -> T) -> T {
        let mut rests = lock(&self.rests);
        match rests.get_mut(at) {
            Some(rest) => use_it(rest),
            None => use_it(&mut Rest::default()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchConsumer for Merged {
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.consumers.len().max(1);
        let in_turn = (0..count).map(|at| at.wrapping_add(turn) % count);
        // Dropping the futures that did not finish first is safe: receiving is cancel safe.
        let mut waiting: Vec<_> = in_turn
            .map(|at| Some(self.receive_from(at, max).boxed()))
            .collect();
        poll_fn(|cx| {
            for receiving in &mut waiting {
                let Some(Poll::Ready(received)) = receiving.as_mut().map(|it| it.poll_unpin(cx))
                else {
                    continue;
                };
                *receiving = None;
                match received {
                    Ok(deliveries) if deliveries.is_empty() => {}
                    received => return Poll::Ready(received),
                }
            }
            match waiting.iter().all(Option::is_none) {
                true => Poll::Ready(Ok(Vec::new())),
                false => Poll::Pending,
            }
        })
        .await
    }

    async fn drain(&self) -> Result<()> {
        let all = self.consumers.iter().map(|consumer| consumer.drain());
        futures::future::join_all(all).await.into_iter().collect()
    }

    async fn flush(&self) -> Result<()> {
        let all = self.consumers.iter().map(|consumer| consumer.flush());
        futures::future::join_all(all).await.into_iter().collect()
    }

    async fn close(&self) -> Result<()> {
        let all = self.consumers.iter().map(|consumer| consumer.close());
        futures::future::join_all(all).await.into_iter().collect()
    }

    fn pause(&self, paused: bool) {
        for consumer in &self.consumers {
            consumer.pause(paused);
        }
    }

    fn capabilities(&self) -> Capabilities {
        let each = self
            .consumers
            .iter()
            .map(|consumer| consumer.capabilities());
        each.reduce(weaker).unwrap_or_else(|| Capabilities {
            claims: aqueduct_core::Claims::none(),
            limits: Limits::default(),
        })
    }

    fn status(&self) -> ConsumerStatus {
        let mut all = ConsumerStatus::default();
        for consumer in &self.consumers {
            let status = consumer.status();
            all.partitions.extend(status.partitions);
            all.unreachable_since = match (all.unreachable_since, status.unreachable_since) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            all.paused |= status.paused;
        }
        all
    }
}

fn weaker(one: Capabilities, other: Capabilities) -> Capabilities {
    let least = |one: Option<usize>, other: Option<usize>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Capabilities {
        claims: one.claims.and(&other.claims),
        limits: Limits {
            event_bytes: least(one.limits.event_bytes, other.limits.event_bytes),
            batch_events: least(one.limits.batch_events, other.limits.batch_events),
            batch_bytes: least(one.limits.batch_bytes, other.limits.batch_bytes),
        },
    }
}

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use aqueduct_core::{Capabilities, Consumer, ConsumerStatus, Delivery, Limits, Result};
use async_trait::async_trait;
use futures::FutureExt as _;

/// The consumers of several streams as one. Each in turn is asked first, so that a busy stream does
/// not starve the others.
pub(super) struct Merged {
    consumers: Vec<Arc<dyn Consumer>>,
    turn: AtomicUsize,
}

impl Merged {
    pub(super) fn new(consumers: Vec<Arc<dyn Consumer>>) -> Self {
        Self {
            consumers,
            turn: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Consumer for Merged {
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.consumers.len().max(1);
        let (before, after) = self.consumers.split_at(turn % count);
        let in_turn = after.iter().chain(before);
        // Dropping those that did not answer first is safe: receiving is.
        let mut waiting: Vec<_> = in_turn.map(|it| Some(it.receive_batch(max))).collect();
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

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Backoff, BatchConsumer, Capabilities, ConsumerStatus, Delivery, Error, Instant, Limits, Result,
    Retry, Runtime,
};
use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;

/// The consumers of several streams as one. Each in turn is asked first, so that a busy stream does
/// not starve the others; one that fails backs off alone, so that it does not stop them.
///
/// A receive that did not end first is kept for the next call: dropping it is safe, but a layer would
/// be asked about its deliveries once more.
pub(super) struct Merged {
    members: Vec<Arc<Member>>,
    receives: futures::lock::Mutex<Receives>,
    turn: AtomicUsize,
}

/// The consumer of one stream.
struct Member {
    consumer: Arc<dyn BatchConsumer>,
    rest: Mutex<Rest>,
    runtime: Runtime,
}

/// The back-off of a consumer that failed.
#[derive(Clone, Copy, Default)]
struct Rest {
    failures: u32,
    until: Instant,
}

/// The receives under way, one for each member.
struct Receives {
    under_way: Vec<Option<Receiving>>,
    /// The maximum that they were started with.
    max: usize,
}

type Receiving = BoxFuture<'static, Result<Vec<Delivery>>>;

/// The wait between failed receives of one stream.
const RECEIVE_AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

impl Merged {
    pub(super) fn new(consumers: Vec<Arc<dyn BatchConsumer>>, runtime: &Runtime) -> Self {
        let members: Vec<_> = consumers
            .into_iter()
            .map(|consumer| {
                Arc::new(Member {
                    consumer,
                    rest: Mutex::default(),
                    runtime: runtime.clone(),
                })
            })
            .collect();
        Self {
            receives: futures::lock::Mutex::new(Receives::none(members.len())),
            members,
            turn: AtomicUsize::new(0),
        }
    }

    fn consumers(&self) -> impl Iterator<Item = &Arc<dyn BatchConsumer>> {
        self.members.iter().map(|member| &member.consumer)
    }

    /// Ends the receives under way, unless a call polls them: a consumer cannot give back what a
    /// receive that is not polled has staged.
    fn cancel(&self) {
        if let Some(mut receives) = self.receives.try_lock() {
            *receives = Receives::none(self.members.len());
        }
    }
}

impl Member {
    async fn receive(self: Arc<Self>, max: usize) -> Result<Vec<Delivery>> {
        let until = self.with_rest(|rest| rest.until);
        if until > self.runtime.now() {
            self.runtime.sleep_until(until).await;
        }
        let received = self.consumer.receive_batch(max).await;
        let now = self.runtime.now();
        self.with_rest(|rest| match &received {
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

    fn with_rest<T>(&self, use_it: impl FnOnce(&mut Rest) -> T) -> T {
        use_it(&mut lock(&self.rest))
    }
}

impl Receives {
    fn none(members: usize) -> Self {
        Self {
            under_way: std::iter::repeat_with(|| None).take(members).collect(),
            max: 0,
        }
    }

    /// Polls each receive once, from the member of `turn` on, until one ends with deliveries or an
    /// error; `ended` has those that have ended in this call.
    fn poll(
        &mut self,
        members: &[Arc<Member>],
        turn: usize,
        ended: &mut [bool],
        cx: &mut Context<'_>,
    ) -> Poll<Result<Vec<Delivery>>> {
        let count = members.len();
        for at in (0..count).map(|at| at.wrapping_add(turn) % count) {
            let (Some(member), Some(slot), Some(ended)) = (
                members.get(at),
                self.under_way.get_mut(at),
                ended.get_mut(at),
            ) else {
                continue;
            };
            if *ended {
                continue;
            }
            let receiving =
                slot.get_or_insert_with(|| Arc::clone(member).receive(self.max).boxed());
            let Poll::Ready(received) = receiving.poll_unpin(cx) else {
                continue;
            };
            *slot = None;
            match received {
                Ok(deliveries) if deliveries.is_empty() => *ended = true,
                received => return Poll::Ready(received),
            }
        }
        match ended.iter().all(|ended| *ended) {
            true => Poll::Ready(Ok(Vec::new())),
            false => Poll::Pending,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchConsumer for Merged {
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut receives = self.receives.lock().await;
        if receives.max != max {
            *receives = Receives::none(self.members.len());
            receives.max = max;
        }
        let mut ended = vec![false; self.members.len()];
        poll_fn(|cx| receives.poll(&self.members, turn, &mut ended, cx)).await
    }

    async fn drain(&self) -> Result<()> {
        self.cancel();
        let all = self.consumers().map(|consumer| consumer.drain());
        futures::future::join_all(all).await.into_iter().collect()
    }

    async fn flush(&self) -> Result<()> {
        let all = self.consumers().map(|consumer| consumer.flush());
        futures::future::join_all(all).await.into_iter().collect()
    }

    async fn close(&self) -> Result<()> {
        self.cancel();
        let all = self.consumers().map(|consumer| consumer.close());
        futures::future::join_all(all).await.into_iter().collect()
    }

    fn pause(&self, paused: bool) {
        for consumer in self.consumers() {
            consumer.pause(paused);
        }
    }

    fn capabilities(&self) -> Capabilities {
        let each = self.consumers().map(|consumer| consumer.capabilities());
        each.reduce(weaker).unwrap_or_else(|| Capabilities {
            claims: aqueduct_core::Claims::none(),
            limits: Limits::default(),
        })
    }

    fn status(&self) -> ConsumerStatus {
        let mut all = ConsumerStatus::default();
        for consumer in self.consumers() {
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

#[cfg(test)]
mod tests {
    use aqueduct_core::{Claims, ErrorKind};

    use super::*;

    /// Fails at once, or receives nothing for ever; counts its receives, and those that were dropped.
    #[derive(Default)]
    struct Fake {
        fails: bool,
        received: AtomicUsize,
        dropped: Arc<AtomicUsize>,
    }

    struct Counts(Arc<AtomicUsize>);

    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[async_trait]
    impl BatchConsumer for Fake {
        async fn receive_batch(&self, _: usize) -> Result<Vec<Delivery>> {
            self.received.fetch_add(1, Ordering::Relaxed);
            if self.fails {
                return Err(Error::new(ErrorKind::Denied, "no entry"));
            }
            let _dropped = Counts(self.dropped.clone());
            std::future::pending().await
        }

        async fn drain(&self) -> Result<()> {
            Ok(())
        }

        async fn flush(&self) -> Result<()> {
            Ok(())
        }

        async fn close(&self) -> Result<()> {
            Ok(())
        }

        fn pause(&self, _: bool) {}

        fn capabilities(&self) -> Capabilities {
            Capabilities {
                claims: Claims::none(),
                limits: Limits::default(),
            }
        }

        fn status(&self) -> ConsumerStatus {
            ConsumerStatus::default()
        }
    }

    #[test]
    fn a_receive_that_does_not_end_first_is_kept_until_the_drain() {
        let simulation = aqueduct_runtime::Simulation::new(1);
        let runtime = simulation.runtime();
        let busy = Arc::new(Fake {
            fails: true,
            ..Fake::default()
        });
        let idle = Arc::new(Fake::default());
        let merged = Merged::new(vec![busy.clone(), idle.clone()], &runtime);
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        let run = async {
            for _ in 0..10 {
                merged.receive_batch(5).await.unwrap_err();
            }
            assert_eq!((count(&busy.received), count(&idle.received)), (10, 1));
            assert_eq!(count(&idle.dropped), 0);
            // A receive of another size begins anew.
            merged.receive_batch(6).await.unwrap_err();
            merged.receive_batch(6).await.unwrap_err();
            assert_eq!((count(&idle.received), count(&idle.dropped)), (2, 1));
            merged.drain().await.unwrap();
            assert_eq!(count(&idle.dropped), 2);
        };
        simulation.block_on(run).unwrap();
    }
}

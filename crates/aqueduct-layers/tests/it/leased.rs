use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::{
    BatchConsumer, Claimed, Delivery, Event, EventClaim, IdempotencyScope, IdempotencyStore, Layer,
    LayeredConsumer, Result, Runtime, Timestamp,
};
use aqueduct_layers::{Idempotency, IdempotencyOptions};
use aqueduct_runtime::Simulation;
use async_trait::async_trait;

use super::dead_letters::event;
use super::fake_partition::FakePartition;

/// A store that can be read without a claim; it notes its calls.
#[derive(Default)]
struct Readable {
    handled: Mutex<BTreeSet<String>>,
    calls: Mutex<Vec<(&'static str, usize)>>,
}

impl Readable {
    fn called(&self, what: &'static str, count: usize) {
        self.calls.lock().unwrap().push((what, count));
    }

    fn calls_of(&self, what: &str) -> Vec<usize> {
        let calls = self.calls.lock().unwrap();
        let found = calls.iter().filter(|it| it.0 == what).map(|it| it.1);
        found.collect()
    }

    fn look(&self, claims: &[EventClaim]) -> Vec<Claimed> {
        let handled = self.handled.lock().unwrap();
        let each = claims
            .iter()
            .map(|claim| match handled.contains(&claim.id.to_string()) {
                true => Claimed::Completed,
                false => Claimed::New,
            });
        each.collect()
    }
}

#[async_trait]
impl IdempotencyStore for Readable {
    async fn claim(&self, _: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>> {
        self.called("claim", claims.len());
        Ok(self.look(claims))
    }

    async fn peek(
        &self,
        _: &IdempotencyScope,
        claims: &[EventClaim],
    ) -> Result<Option<Vec<Claimed>>> {
        self.called("peek", claims.len());
        Ok(Some(self.look(claims)))
    }

    async fn complete(&self, _: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.called("complete", claims.len());
        let mut handled = self.handled.lock().unwrap();
        let each = claims.iter().map(|claim| {
            handled.insert(claim.id.to_string());
            Ok(())
        });
        each.collect()
    }

    async fn release(&self, _: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.called("release", claims.len());
        claims.iter().map(|_| Ok(())).collect()
    }

    async fn heartbeat(&self, _: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.called("heartbeat", claims.len());
        claims.iter().map(|_| Ok(())).collect()
    }

    async fn purge(&self, _: Timestamp) -> Result<u64> {
        Ok(0)
    }

    fn retention(&self) -> Option<Duration> {
        None
    }
}

fn with_member<T>(
    line: impl FnOnce(&Runtime) -> Arc<FakePartition>,
    work: impl AsyncFnOnce(&Runtime, &Arc<Readable>, &Arc<FakePartition>, Arc<dyn BatchConsumer>) -> T,
) -> T {
    let simulation = Simulation::new(1).with_horizon(Duration::from_secs(24 * 3600));
    let runtime = simulation.runtime();
    let run = async {
        let store = Arc::new(Readable::default());
        let line = line(&runtime);
        let options = IdempotencyOptions::default();
        let layer = Idempotency::new(store.clone(), options, &runtime).unwrap();
        let layers: [Arc<dyn Layer>; 1] = [Arc::new(layer)];
        let consumer = LayeredConsumer::wrap(line.clone(), &layers).unwrap();
        work(&runtime, &store, &line, consumer).await
    };
    simulation.block_on(run).unwrap()
}

async fn next(consumer: &Arc<dyn BatchConsumer>) -> Delivery {
    consumer.receive_batch(1).await.unwrap().pop().unwrap()
}

#[test]
fn where_a_lease_keeps_others_away_an_event_is_written_once() {
    let events =
        |runtime: &Runtime| FakePartition::new(runtime, vec![event("a", "k"), event("b", "k")]);
    with_member(events, async |runtime, store, line, consumer| {
        let batch = consumer.receive_batch(2).await.unwrap();
        // A slow handler: a stored claim would be renewed meanwhile.
        runtime.sleep(Duration::from_secs(60)).await;
        for delivery in batch {
            delivery.ack().await.unwrap();
        }
        line.push(event("a", "k"));
        line.end();
        assert!(consumer.receive_batch(1).await.unwrap().is_empty());
        assert_eq!(line.unsettled(), [""; 0]);
        assert_eq!(store.calls_of("peek"), [2, 1]);
        assert_eq!(store.calls_of("complete").iter().sum::<usize>(), 2);
        for written in ["claim", "heartbeat", "release"] {
            assert_eq!(store.calls_of(written), [0_usize; 0], "{written}");
        }
    });
}

#[test]
fn a_repetition_waits_for_the_delivery_that_is_handled_here() {
    let events = |runtime: &Runtime| FakePartition::new(runtime, vec![event("a", "k")]);
    with_member(events, async |runtime, store, line, consumer| {
        let first = next(&consumer).await;
        line.push(event("a", "other key"));
        line.end();
        let again = consumer.clone();
        let rest = runtime.spawn(async move { again.receive_batch(1).await });
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!(store.calls_of("peek"), [1]);
        first.ack().await.unwrap();
        assert!(rest.await.unwrap().unwrap().is_empty());
        assert_eq!(store.calls_of("complete"), [1]);
    });
}

#[test]
fn a_later_attempt_is_claimed_and_so_is_an_event_without_a_key_and_one_of_a_queue() {
    let events = |runtime: &Runtime| FakePartition::new(runtime, vec![event("a", "k")]);
    with_member(events, async |_, store, _, consumer| {
        next(&consumer).await.nack(None).await.unwrap();
        assert_eq!(store.calls_of("release"), [0_usize; 0]);
        next(&consumer).await.nack(None).await.unwrap();
        assert_eq!(store.calls_of("claim"), [1]);
        assert_eq!(store.calls_of("release"), [1]);
    });
    let keyless = Event::new("counted").with_id("a").with_source("/test");
    let events = |runtime: &Runtime| FakePartition::new(runtime, vec![keyless]);
    with_member(events, async |_, store, _, consumer| {
        next(&consumer).await.ack().await.unwrap();
        assert_eq!(store.calls_of("claim"), [1]);
    });
    let events = |runtime: &Runtime| FakePartition::queue(runtime, vec![event("a", "k")]);
    with_member(events, async |_, store, _, consumer| {
        next(&consumer).await.ack().await.unwrap();
        assert_eq!(store.calls_of("claim"), [1]);
        assert_eq!(store.calls_of("peek"), [0_usize; 0]);
    });
}

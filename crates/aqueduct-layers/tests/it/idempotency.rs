use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    BatchConsumer, DeadLetter, DeadLetterReason, Delivery, ErrorKind, Event, IdempotencyStore,
    LayeredConsumer, Runtime,
};
use aqueduct_layers::{Idempotency, IdempotencyOptions};
use aqueduct_runtime::Simulation;
use futures::future::join_all;

use super::dead_letters::event;
use super::fake_partition::FakePartition;
use super::flaky::{Flaky, resource};

type Store = Arc<Flaky<dyn IdempotencyStore>>;

async fn store(runtime: &Runtime) -> Store {
    let inner = resource("ids").idempotency(runtime).await.unwrap();
    Flaky::new(inner, 0, runtime)
}

fn member(
    runtime: &Runtime,
    store: &Store,
    fake: &Arc<FakePartition>,
) -> (Arc<dyn BatchConsumer>, Idempotency) {
    let options = IdempotencyOptions::default();
    let layer = Idempotency::new(store.clone(), options, runtime).unwrap();
    let layers: [Arc<dyn aqueduct_core::Layer>; 1] = [Arc::new(layer.clone())];
    (LayeredConsumer::wrap(fake.clone(), &layers).unwrap(), layer)
}

async fn next(consumer: &Arc<dyn BatchConsumer>) -> Delivery {
    consumer.receive_batch(1).await.unwrap().pop().unwrap()
}

fn simulate<T>(seed: u64, work: impl AsyncFnOnce(&Runtime) -> T) -> T {
    let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(24 * 3600));
    let runtime = simulation.runtime();
    simulation.block_on(work(&runtime)).unwrap()
}

async fn ends(runtime: &Runtime, fake: &FakePartition, consumer: &Arc<dyn BatchConsumer>) {
    fake.end();
    let rest = runtime
        .timeout(
            Duration::from_secs(600),
            "the end",
            consumer.receive_batch(10),
        )
        .await;
    let rest = rest.unwrap().unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn an_event_that_comes_twice_is_handled_once() {
    simulate(1, async |runtime| {
        let store = store(runtime).await;
        // Twice in one batch, and once more later.
        let twice = vec![event("a", "k"), event("a", "k"), event("b", "k")];
        let fake = FakePartition::new(runtime, twice);
        let (consumer, _) = member(runtime, &store, &fake);
        let batch = consumer.receive_batch(10).await.unwrap();
        let ids: Vec<String> = batch.iter().map(|it| it.event().id().to_string()).collect();
        assert_eq!(
            ids,
            ["a"],
            "the repetition waits, and what follows waits behind it"
        );
        for delivery in batch {
            delivery.ack().await.unwrap();
        }
        let delivery = next(&consumer).await;
        assert_eq!(delivery.event().id().to_string(), "b");
        delivery.ack().await.unwrap();
        fake.push(event("a", "k"));
        ends(runtime, &fake, &consumer).await;
        assert_eq!(fake.unsettled(), [""; 0]);
    });
}

#[test]
fn a_failed_attempt_gives_the_claim_up_and_comes_again() {
    simulate(2, async |runtime| {
        let store = store(runtime).await;
        let fake = FakePartition::new(runtime, vec![event("a", "k")]);
        let (consumer, _) = member(runtime, &store, &fake);
        next(&consumer).await.nack(None).await.unwrap();
        assert_eq!(store.calls_of("release").len(), 1);
        drop(next(&consumer).await);
        let delivery = next(&consumer).await;
        assert_eq!(delivery.attempt(), 3);
        delivery.ack().await.unwrap();
        ends(runtime, &fake, &consumer).await;
    });
}

#[test]
fn acks_that_come_together_share_calls_of_the_store() {
    simulate(3, async |runtime| {
        let store = store(runtime).await;
        let events: Vec<Event> = (0..200)
            .map(|n| event(&n.to_string(), &n.to_string()))
            .collect();
        let fake = FakePartition::new(runtime, events);
        let (consumer, _) = member(runtime, &store, &fake);
        let batch = consumer.receive_batch(200).await.unwrap();
        assert_eq!(store.calls_of("claim"), [200]);
        for settled in join_all(batch.into_iter().map(Delivery::ack)).await {
            settled.unwrap();
        }
        let calls = store.calls_of("complete");
        assert_eq!(calls.iter().sum::<usize>(), 200);
        assert!(calls.len() <= 3, "{calls:?}");
        assert_eq!(fake.unsettled(), [""; 0]);
    });
}

#[test]
fn what_a_transaction_completed_is_found_completed() {
    simulate(4, async |runtime| {
        let store = store(runtime).await;
        let fake = FakePartition::new(runtime, vec![event("a", "k"), event("a", "k")]);
        let (consumer, layer) = member(runtime, &store, &fake);
        let delivery = next(&consumer).await;
        let (scope, claim) = layer.claim_for(delivery.assignment(), delivery.parts());
        assert_eq!(scope.group.as_str(), "billing");
        assert_eq!(claim.partition.as_ref().unwrap().as_str(), "0");
        for completed in store.complete(&scope, &[claim]).await {
            completed.unwrap();
        }
        delivery.ack().await.unwrap();
        ends(runtime, &fake, &consumer).await;
    });
}

#[test]
fn a_new_owner_of_the_partition_takes_a_claim_over_at_once() {
    simulate(5, async |runtime| {
        let store = store(runtime).await;
        let old = FakePartition::assigned(runtime, vec![event("a", "k")], "billing", 1);
        let (consumer, _) = member(runtime, &store, &old);
        let stuck = next(&consumer).await;
        let new = FakePartition::assigned(runtime, vec![event("a", "k")], "billing", 2);
        let (consumer, _) = member(runtime, &store, &new);
        let before = runtime.now();
        let delivery = next(&consumer).await;
        assert!(runtime.now().since(before) < Duration::from_secs(1));
        delivery.ack().await.unwrap();
        drop(stuck);
    });
}

#[test]
fn on_a_queue_a_claim_lapses_when_its_heartbeat_stands_still_and_not_before() {
    simulate(6, async |runtime| {
        let store = store(runtime).await;
        let first = FakePartition::queue(runtime, vec![event("a", "k")]);
        let second = FakePartition::queue(runtime, vec![event("a", "k")]);
        let (busy, _) = member(runtime, &store, &first);
        let (other, _) = member(runtime, &store, &second);
        let slow = next(&busy).await;
        let waiting = {
            let (other, runtime) = (other.clone(), runtime.clone());
            runtime
                .clone()
                .spawn(async move { (next(&other).await, runtime.now()) })
        };
        runtime.sleep(Duration::from_secs(200)).await;
        assert_eq!(second.unsettled(), ["a"], "the handler is slow, not dead");
        assert!(store.calls_of("heartbeat").len() > 10);

        // It dies: its claim is neither renewed nor given up.
        store.fail(1000);
        drop(slow);
        runtime.sleep(Duration::from_millis(10)).await;
        first.end();
        store.fail(0);
        let died = runtime.now();
        let (delivery, taken) = waiting.await.unwrap();
        let after = taken.since(died).as_secs();
        assert!((19..60).contains(&after), "taken over after {after} s");
        delivery.ack().await.unwrap();
    });
}

#[test]
fn groups_and_replays_do_not_suppress_each_other() {
    simulate(7, async |runtime| {
        let store = store(runtime).await;
        for group in ["billing", "shipping"] {
            let fake = FakePartition::assigned(runtime, vec![event("a", "k")], group, 1);
            let (consumer, _) = member(runtime, &store, &fake);
            next(&consumer).await.ack().await.unwrap();
        }
        let dead_letter = DeadLetter::new(
            event("z", "k"),
            "orders".into(),
            "shipping".into(),
            DeadLetterReason::Rejected,
            "no",
            runtime.wall(),
        );
        let fake = FakePartition::new(runtime, vec![dead_letter.redriven().unwrap()]);
        let (consumer, _) = member(runtime, &store, &fake);
        ends(runtime, &fake, &consumer).await;
    });
}

#[test]
fn a_store_that_is_away_for_a_moment_does_not_fail_the_ack() {
    simulate(8, async |runtime| {
        let store = store(runtime).await;
        let fake = FakePartition::new(runtime, vec![event("a", "k"), event("b", "b")]);
        let (consumer, _) = member(runtime, &store, &fake);
        let delivery = next(&consumer).await;
        store.fail(1000);
        let acking = runtime.spawn(delivery.ack());
        runtime.sleep(Duration::from_millis(20)).await;
        store.fail(0);
        acking.await.unwrap().unwrap();
        assert_eq!(fake.unsettled(), ["b"]);

        let delivery = next(&consumer).await;
        store.fail(1000);
        let failed = delivery.ack().await.unwrap_err();
        assert!(
            failed.error.to_string().contains("recorded as handled"),
            "{}",
            failed.error
        );
        store.fail(0);
        failed.delivery.ack().await.unwrap();
        ends(runtime, &fake, &consumer).await;
    });
}

#[test]
fn a_repetition_of_what_is_handled_here_waits_about_as_long_as_that_takes() {
    for (seed, millis) in [(9, 20), (10, 100), (11, 2_000)] {
        simulate(seed, async |runtime| {
            let store = store(runtime).await;
            let fake = FakePartition::new(runtime, vec![event("a", "k")]);
            let (consumer, _) = member(runtime, &store, &fake);
            let delivery = next(&consumer).await;
            fake.push(event("a", "other key"));
            fake.end();
            let began = runtime.now();
            let rest = runtime.spawn(async move { consumer.receive_batch(1).await });
            runtime.sleep(Duration::from_millis(millis)).await;
            delivery.ack().await.unwrap();
            assert!(rest.await.unwrap().unwrap().is_empty());
            let took = runtime.now().since(began);
            let most = Duration::from_millis(120 + millis * 8 / 5);
            assert!(took < most, "{took:?}, the handler took {millis} ms");
            assert!(fake.defers() <= 12, "{}", fake.defers());
        });
    }
}

#[test]
fn a_superseded_delivery_is_handled_again_although_it_was_acked() {
    simulate(12, async |runtime| {
        let store = store(runtime).await;
        let fake = FakePartition::new(runtime, vec![event("a", "k"), event("b", "k")]);
        let (consumer, _) = member(runtime, &store, &fake);
        let mut run = consumer.receive_batch(2).await.unwrap();
        let (b, a) = (run.pop().unwrap(), run.pop().unwrap());
        a.nack(Duration::from_secs(1)).await.unwrap();
        let failed = b.ack().await.unwrap_err();
        assert_eq!(failed.error.kind(), ErrorKind::Superseded);
        drop(failed);
        for id in ["a", "b"] {
            let delivery = next(&consumer).await;
            assert_eq!(delivery.event().id().to_string(), id);
            delivery.ack().await.unwrap();
        }
        ends(runtime, &fake, &consumer).await;
        assert_eq!(store.calls_of("complete").iter().sum::<usize>(), 2);
    });
}

#[test]
fn a_superseded_delivery_that_ends_late_leaves_the_claim_of_the_next_one_alone() {
    simulate(13, async |runtime| {
        let store = store(runtime).await;
        let fake = FakePartition::new(runtime, vec![event("a", "k"), event("b", "k")]);
        let (consumer, _) = member(runtime, &store, &fake);
        let mut run = consumer.receive_batch(2).await.unwrap();
        let (late, a) = (run.pop().unwrap(), run.pop().unwrap());
        a.nack(Duration::ZERO).await.unwrap();
        next(&consumer).await.ack().await.unwrap();
        let again = next(&consumer).await;
        assert_eq!(again.event().id().to_string(), "b");
        let before = store.calls_of("release").len();
        drop(late.ack().await.unwrap_err());
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!(store.calls_of("release").len(), before);
        again.ack().await.unwrap();
        ends(runtime, &fake, &consumer).await;
    });
}

#[test]
fn an_ack_that_comes_after_the_lease_is_lost_is_recorded() {
    simulate(14, async |runtime| {
        let store = store(runtime).await;
        let old = FakePartition::assigned(runtime, vec![event("a", "k")], "billing", 1);
        let (consumer, _) = member(runtime, &store, &old);
        let delivery = next(&consumer).await;
        old.lose();
        let failed = delivery.ack().await.unwrap_err();
        assert_eq!(failed.error.kind(), ErrorKind::Revoked);
        let new = FakePartition::assigned(runtime, vec![event("a", "k")], "billing", 2);
        let (consumer, _) = member(runtime, &store, &new);
        ends(runtime, &new, &consumer).await;
    });
}

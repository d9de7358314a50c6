use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backoff, BatchConsumer, DeadLetter, DeadLetterReason, DeadLetterStore, Delivery, Error,
    ErrorKind, Event, Layer, LayeredConsumer, OpenPartition, ReadFrom, Runtime, Settlement, Source,
};
use aqueduct_layers::{
    DeadLetterOptions, DeadLetters, OnExhausted, OnReject, ProducerDeadLetters, RejectPolicy,
};
use aqueduct_runtime::Simulation;

use super::fake_partition::FakePartition;
use super::flaky::{Flaky, all_dead_letters, resource};

pub(crate) fn event(id: &str, key: &str) -> Event {
    Event::new("counted")
        .with_id(id)
        .with_source("/test")
        .with_key(key)
}

fn options(on_exhausted: OnExhausted) -> DeadLetterOptions {
    DeadLetterOptions {
        attempts: 3,
        on_exhausted,
        put_backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(8)),
        ..DeadLetterOptions::default()
    }
}

struct Scene {
    runtime: Runtime,
    dead_letters: Arc<Flaky<dyn DeadLetterStore>>,
    fake: Arc<FakePartition>,
    consumer: Arc<dyn BatchConsumer>,
}

impl Scene {
    async fn new(runtime: &Runtime, events: &[Event], on_exhausted: OnExhausted) -> Self {
        let fake = FakePartition::new(runtime, events.to_vec());
        let inner = resource("dlq").dead_letters(runtime).await.unwrap();
        let dead_letters = Flaky::new(inner, 0, runtime);
        Self::over(runtime, fake, dead_letters, on_exhausted)
    }

    fn over(
        runtime: &Runtime,
        fake: Arc<FakePartition>,
        dead_letters: Arc<Flaky<dyn DeadLetterStore>>,
        on_exhausted: OnExhausted,
    ) -> Self {
        let layer =
            DeadLetters::with_store(dead_letters.clone(), options(on_exhausted), runtime).unwrap();
        let consumer = LayeredConsumer::wrap(fake.clone(), &[Arc::new(layer)]).unwrap();
        Self {
            runtime: runtime.clone(),
            dead_letters,
            fake,
            consumer,
        }
    }

    async fn next(&self) -> Delivery {
        let mut batch = self.consumer.receive_batch(1).await.unwrap();
        batch.pop().unwrap()
    }

    /// Handles until all is settled: nacks the events chosen by `fails`; returns the events seen.
    async fn run(&self, fails: impl Fn(&str) -> bool) -> Vec<(String, u32)> {
        self.fake.end();
        let mut seen = Vec::new();
        loop {
            let batch = self.consumer.receive_batch(10).await.unwrap();
            if batch.is_empty() {
                return seen;
            }
            for delivery in batch {
                if delivery.revoked().reason().is_some() {
                    continue;
                }
                let id = delivery.event().id().to_string();
                seen.push((id.clone(), delivery.attempt()));
                if fails(&id) {
                    delivery
                        .settle(nack(&format!("{id} failed")))
                        .await
                        .unwrap();
                } else {
                    delivery.ack().await.unwrap();
                }
            }
        }
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        all_dead_letters(&*self.dead_letters).await
    }
}

fn nack(said: &str) -> Settlement {
    Settlement::Nack {
        delay: None,
        error: Some(Error::new(ErrorKind::Handler, said.to_owned())),
    }
}

fn simulate<T>(seed: u64, work: impl AsyncFnOnce(&Runtime) -> T) -> T {
    let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(24 * 3600));
    let runtime = simulation.runtime();
    simulation.block_on(work(&runtime)).unwrap()
}

fn ids(dead_letters: &[DeadLetter]) -> Vec<String> {
    dead_letters
        .iter()
        .map(|it| it.event.id().to_string())
        .collect()
}

#[test]
fn a_letter_says_everything_that_is_known() {
    simulate(1, async |runtime| {
        let scene = Scene::new(
            runtime,
            &[event("a1", "a"), event("a2", "a")],
            OnExhausted::DeadLetter,
        )
        .await;
        let seen = scene.run(|id| id == "a1").await;
        let runs: Vec<_> = seen
            .iter()
            .map(|(id, attempt)| format!("{id}/{attempt}"))
            .collect();
        assert_eq!(
            runs,
            ["a1/1", "a1/2", "a1/3", "a2/1"],
            "the key goes on behind the dead letter"
        );
        let dead_letters = scene.dead_letters().await;
        let [dead_letter] = &dead_letters[..] else {
            panic!("{dead_letters:?}")
        };
        assert_eq!(dead_letter.event, event("a1", "a"));
        assert_eq!(
            (dead_letter.stream.as_str(), dead_letter.group.as_str()),
            ("orders", "billing")
        );
        assert_eq!(dead_letter.partition.as_ref().unwrap().as_str(), "0");
        assert_eq!(dead_letter.position.unwrap().to_string(), "0");
        assert_eq!(
            (dead_letter.reason, dead_letter.attempts),
            (DeadLetterReason::Exhausted, 3)
        );
        assert_eq!(dead_letter.message, "a1 failed");
        assert!(!dead_letter.holds_key);
        let attempts: Vec<u32> = dead_letter.failures.iter().map(|it| it.attempt).collect();
        assert_eq!(attempts, [1, 2, 3]);
        assert!(dead_letter.failures.is_sorted_by_key(|it| it.at));
        assert!(dead_letter.failures[2].at <= dead_letter.buried_at);
        assert!(
            dead_letter
                .failures
                .iter()
                .all(|it| it.error == "a1 failed")
        );
    });
}

#[test]
fn rejected_events_are_letters_at_once_and_say_whether_they_decode() {
    simulate(2, async |runtime| {
        let scene = Scene::new(
            runtime,
            &[event("a", "a"), event("b", "b")],
            OnExhausted::Block,
        )
        .await;
        scene.next().await.reject("no such customer").await.unwrap();
        scene
            .next()
            .await
            .reject("undecodable: missing field `total`")
            .await
            .unwrap();
        let dead_letters = scene.dead_letters().await;
        let reasons: Vec<DeadLetterReason> = dead_letters.iter().map(|it| it.reason).collect();
        assert_eq!(
            reasons,
            [DeadLetterReason::Rejected, DeadLetterReason::Undecodable]
        );
        assert_eq!(dead_letters[0].message, "no such customer");
        assert_eq!(dead_letters[0].attempts, 1);
        assert_eq!(scene.fake.unsettled(), [""; 0]);
    });
}

#[test]
fn a_burial_that_fails_is_tried_again_with_back_off_and_the_handler_is_left_alone() {
    simulate(3, async |runtime| {
        let scene = Scene::new(
            runtime,
            &[event("a", "a"), event("b", "b")],
            OnExhausted::DeadLetter,
        )
        .await;
        scene.dead_letters.fail(1000);
        scene.next().await.reject("never").await.unwrap();
        assert_eq!(scene.fake.unsettled(), ["a", "b"]);
        let started = runtime.now();
        scene.next().await.ack().await.unwrap();
        let consumer = scene.consumer.clone();
        let waiting =
            runtime.spawn(async move { consumer.receive_batch(1).await.map(|it| it.len()) });
        runtime.sleep(Duration::from_secs(60)).await;
        let tries = scene.dead_letters.calls_of("bury").len();
        assert!((5..200).contains(&tries), "{tries} burials in a minute");
        assert_eq!(scene.fake.unsettled(), ["a"]);
        scene.dead_letters.fail(0);
        runtime.sleep(Duration::from_secs(9)).await;
        assert_eq!(scene.fake.unsettled(), [""; 0]);
        let dead_letters = scene.dead_letters().await;
        assert_eq!(ids(&dead_letters), ["a"]);
        assert_eq!(
            (dead_letters[0].attempts, dead_letters[0].message.as_str()),
            (1, "never")
        );
        assert!(runtime.now().since(started) > Duration::from_secs(60));
        scene.fake.end();
        assert_eq!(
            waiting.await.unwrap().unwrap(),
            0,
            "no handler has seen it again"
        );
    });
}

#[test]
fn the_rest_of_a_held_key_follows_in_order_until_it_is_released() {
    simulate(4, async |runtime| {
        let events = ["a1", "b1", "a2", "a3", "b2"].map(|id| event(id, &id[..1]));
        let scene = Scene::new(runtime, &events, OnExhausted::DivertKey).await;
        let seen = scene.run(|id| id == "a1").await;
        let runs: Vec<_> = seen
            .into_iter()
            .map(|(id, _)| id)
            .filter(|id| id.starts_with('a'))
            .collect();
        assert_eq!(runs, ["a1", "a1", "a1"], "no later event is handled");
        let dead_letters = scene.dead_letters().await;
        assert_eq!(ids(&dead_letters), ["a1", "a2", "a3"]);
        let buried: usize = scene.dead_letters.calls_of("bury").iter().sum();
        assert_eq!(buried, 3, "each of them once");
        let reasons: Vec<DeadLetterReason> = dead_letters.iter().map(|it| it.reason).collect();
        assert_eq!(
            reasons,
            [
                DeadLetterReason::Exhausted,
                DeadLetterReason::KeyHeld,
                DeadLetterReason::KeyHeld
            ]
        );
        assert!(dead_letters[0].holds_key);

        // Another process, which knows only the stored dead letters.
        let fake = FakePartition::new(runtime, vec![event("a4", "a"), event("b3", "b")]);
        let scene = Scene::over(
            runtime,
            fake,
            scene.dead_letters.clone(),
            OnExhausted::DivertKey,
        );
        let delivery = scene.next().await;
        assert_eq!(delivery.event().id().to_string(), "b3");
        delivery.ack().await.unwrap();
        assert_eq!(ids(&scene.dead_letters().await), ["a1", "a2", "a3", "a4"]);
        let (group, stream) = ("billing".into(), "orders".into());
        scene
            .dead_letters
            .release_key(&group, &stream, "a")
            .await
            .unwrap();
        runtime.sleep(Duration::from_secs(11)).await;
        scene.fake.push(event("a5", "a"));
        assert_eq!(scene.next().await.event().id().to_string(), "a5");
    });
}

#[test]
fn a_blocked_key_waits_and_the_others_flow() {
    simulate(5, async |runtime| {
        let events = ["a1", "b1", "a2", "b2"].map(|id| event(id, &id[..1]));
        let scene = Scene::new(runtime, &events, OnExhausted::Block).await;
        let deadline = runtime.now() + Duration::from_secs(30);
        let mut seen = Vec::new();
        while scene.runtime.now() < deadline {
            let delivery = scene.next().await;
            let id = delivery.event().id().to_string();
            let settlement = if id == "a1" {
                nack("no")
            } else {
                Settlement::Ack
            };
            seen.push((id, delivery.attempt()));
            delivery.settle(settlement).await.unwrap();
        }
        assert!(
            seen.iter()
                .any(|(id, attempt)| id == "a1" && *attempt > 100)
        );
        assert_eq!(scene.fake.unsettled(), ["a1", "a2"]);
        assert!(scene.dead_letters().await.is_empty());
    });
}

#[test]
fn what_killed_the_process_is_buried_unseen() {
    simulate(6, async |runtime| {
        let scene = Scene::new(
            runtime,
            &[event("a", "a"), event("b", "b")],
            OnExhausted::DeadLetter,
        )
        .await;
        scene.fake.set_attempt(0, 4);
        scene.fake.set_attempt(1, 3);
        let delivery = scene.next().await;
        assert_eq!(
            delivery.event().id().to_string(),
            "b",
            "its last attempt is not used up"
        );
        delivery.ack().await.unwrap();
        let dead_letters = scene.dead_letters().await;
        assert_eq!(ids(&dead_letters), ["a"]);
        assert_eq!(
            (dead_letters[0].reason, dead_letters[0].attempts),
            (DeadLetterReason::Poison, 3)
        );
    });
}

#[test]
fn a_dropped_delivery_is_a_failure_that_the_letter_tells() {
    simulate(7, async |runtime| {
        let scene = Scene::new(
            runtime,
            &[event("a", "a"), event("b", "b")],
            OnExhausted::DeadLetter,
        )
        .await;
        for _ in 0..4 {
            let delivery = scene.next().await;
            if delivery.event().id().to_string() == "b" {
                delivery.ack().await.unwrap();
            }
        }
        scene.run(|_| panic!("nothing is left to handle")).await;
        let dead_letters = scene.dead_letters().await;
        assert_eq!(ids(&dead_letters), ["a"]);
        assert_eq!(
            (dead_letters[0].reason, dead_letters[0].failures.len()),
            (DeadLetterReason::Exhausted, 3)
        );
        assert!(dead_letters[0].message.contains("dropped"));
    });
}

#[test]
fn a_letter_that_was_redriven_for_another_group_is_settled_unseen() {
    simulate(8, async |runtime| {
        let mut dead_letter = DeadLetter::new(
            event("a", "a"),
            "orders".into(),
            "shipping".into(),
            DeadLetterReason::Rejected,
            "no",
            runtime.wall(),
        );
        let theirs = dead_letter.redriven().unwrap();
        dead_letter.group = "billing".into();
        let ours = dead_letter.redriven().unwrap().with_id("ours");
        let scene = Scene::new(runtime, &[theirs, ours], OnExhausted::DeadLetter).await;
        let delivery = scene.next().await;
        assert_eq!(delivery.event().id().to_string(), "ours");
        delivery.ack().await.unwrap();
        assert_eq!(scene.fake.unsettled(), [""; 0]);
    });
}

#[test]
fn what_one_group_buries_another_handles_behind_the_same_layer() {
    simulate(9, async |runtime| {
        let events = [event("a", "a")];
        let scene = Scene::new(runtime, &events, OnExhausted::DeadLetter).await;
        scene.fake.set_attempt(0, 4);
        let layer = DeadLetters::with_store(
            scene.dead_letters.clone(),
            options(OnExhausted::DeadLetter),
            runtime,
        )
        .unwrap();
        let layer: [Arc<dyn Layer>; 1] = [Arc::new(layer)];
        let billing = LayeredConsumer::wrap(scene.fake.clone(), &layer).unwrap();
        scene.fake.end();
        assert!(billing.receive_batch(1).await.unwrap().is_empty());
        assert_eq!(ids(&scene.dead_letters().await), ["a"]);
        let fake = FakePartition::assigned(runtime, events.to_vec(), "shipping", 1);
        let shipping = LayeredConsumer::wrap(fake.clone(), &layer).unwrap();
        fake.end();
        let batch = shipping.receive_batch(1).await.unwrap();
        assert_eq!(batch.len(), 1, "it was settled unseen");
        for delivery in batch {
            delivery.ack().await.unwrap();
        }
    });
}

#[test]
fn a_letter_that_a_queue_sends_again_is_handled_again() {
    simulate(9, async |runtime| {
        let fake = FakePartition::queue(runtime, vec![event("a", "a")]);
        fake.set_attempt(0, 4);
        let inner = resource("dlq").dead_letters(runtime).await.unwrap();
        let dead_letters = Flaky::new(inner, 0, runtime);
        let scene = Scene::over(runtime, fake, dead_letters, OnExhausted::DeadLetter);
        scene.fake.push(event("b", "b"));
        scene.next().await.ack().await.unwrap();
        let dead_letters = scene.dead_letters().await;
        assert_eq!(ids(&dead_letters), ["a"]);
        scene.fake.push(dead_letters[0].redriven().unwrap());
        assert_eq!(scene.next().await.event().id().to_string(), "a");
    });
}

#[test]
fn letters_go_out_through_any_producer_and_come_back_whole() {
    simulate(10, async |runtime| {
        let stream = resource("dead");
        let producer = stream.producer(runtime).await.unwrap();
        let queue = ProducerDeadLetters::new(producer);
        let layer =
            DeadLetters::new(Arc::new(queue), options(OnExhausted::DeadLetter), runtime).unwrap();
        let fake = FakePartition::new(runtime, vec![event("a", "a")]);
        let consumer = LayeredConsumer::wrap(fake.clone(), &[Arc::new(layer)]).unwrap();
        let delivery = consumer.receive_batch(1).await.unwrap().pop().unwrap();
        delivery.reject("no such customer").await.unwrap();
        assert_eq!(fake.unsettled(), [""; 0]);
        let Source::Log(log) = stream.source(runtime).await.unwrap() else {
            panic!("memory is a log")
        };
        let mut found = Vec::new();
        for partition in log.partitions().await.unwrap() {
            let request =
                OpenPartition::new("reader".into(), partition.id.clone(), ReadFrom::Earliest);
            let mut reader = log.open(&request).await.unwrap();
            let batch = reader.read(10).await.unwrap();
            found.extend(batch.records.into_iter().map(|it| it.event));
        }
        let [event_back] = &found[..] else {
            panic!("{found:?}")
        };
        let dead_letter = DeadLetter::from_event(event_back).unwrap();
        assert_eq!(dead_letter.event, event("a", "a"));
        assert_eq!(dead_letter.message, "no such customer");
    });
}

#[test]
fn without_dead_letters_a_rejection_stops_or_drops() {
    simulate(11, async |runtime| {
        let fake = FakePartition::new(runtime, vec![event("a", "a"), event("b", "b")]);
        let layer: Arc<dyn Layer> = Arc::new(RejectPolicy::new(OnReject::Drop));
        let consumer = LayeredConsumer::wrap(fake.clone(), &[layer]).unwrap();
        for delivery in consumer.receive_batch(2).await.unwrap() {
            delivery.reject("no").await.unwrap();
        }
        assert_eq!(fake.unsettled(), [""; 0]);

        let fake = FakePartition::new(runtime, vec![event("a", "a"), event("b", "b")]);
        let policy = RejectPolicy::new(OnReject::Stop);
        let consumer = LayeredConsumer::wrap(fake.clone(), &[Arc::new(policy.clone())]).unwrap();
        let delivery = consumer.receive_batch(1).await.unwrap().pop().unwrap();
        assert!(policy.stopped().is_none());
        delivery.reject("no such customer").await.unwrap();
        let error = consumer.receive_batch(1).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Handler, false)
        );
        assert!(error.to_string().contains("no such customer"), "{error}");
        assert_eq!(fake.unsettled(), ["a", "b"], "nothing is lost");
    });
}

#[test]
fn names_and_limits_are_checked() {
    assert_eq!(
        OnExhausted::from_name("divert_key").unwrap(),
        OnExhausted::DivertKey
    );
    let refused = OnExhausted::from_name("bury").unwrap_err();
    assert!(refused.to_string().contains("\"bury\"") && refused.to_string().contains("divert_key"));
    assert!(
        OnReject::from_name("keep")
            .unwrap_err()
            .to_string()
            .contains("stop")
    );
    let mut options = options(OnExhausted::DeadLetter);
    options.attempts = 0;
    assert!(
        options
            .validate()
            .unwrap_err()
            .to_string()
            .contains("attempts = 0")
    );
}

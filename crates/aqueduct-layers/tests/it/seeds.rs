use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    DeadLetterReason, DeadLetterStore, Delivery, Event, IdempotencyStore, Layer, LayeredConsumer,
    Runtime,
};
use aqueduct_layers::{
    DeadLetterOptions, DeadLetters, Idempotency, IdempotencyOptions, OnExhausted,
};
use aqueduct_runtime::Simulation;
use futures::FutureExt as _;

use super::dead_letters::event;
use super::fake_partition::FakePartition;
use super::flaky::{Flaky, all_dead_letters, resource};

const ATTEMPTS: u32 = 3;

/// The result of the handler for an event, the same at every attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Reject,
    Fail,
}

fn fate(seed: u64, id: &str) -> Fate {
    let mut hash = seed ^ 0x9e37;
    for byte in id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    match (hash >> 20) % 10 {
        0 => Fate::Reject,
        1 => Fate::Fail,
        _ => Fate::Fine,
    }
}

struct Seen {
    effects: BTreeMap<String, u32>,
    failures: BTreeMap<String, u32>,
    order: BTreeMap<String, Vec<String>>,
}

async fn run(seed: u64, runtime: &Runtime) {
    let mode = [OnExhausted::DeadLetter, OnExhausted::DivertKey][(seed % 2) as usize];
    let mut events: Vec<Event> = Vec::new();
    for n in 0..20 {
        let key = ["a", "b", "c"][n % 3];
        events.push(event(&format!("{key}{n:02}"), key));
        // Some come twice.
        if runtime.random().is_multiple_of(5) {
            events.push(events[runtime.random() as usize % events.len()].clone());
        }
    }
    let fake = FakePartition::new(runtime, events.clone());
    fake.end();
    let trouble = [0, 100, 300][(seed / 2 % 3) as usize];
    let ids = Flaky::<dyn IdempotencyStore>::new(
        resource("ids").idempotency(runtime).await.unwrap(),
        trouble,
        runtime,
    );
    let dead_letters = Flaky::<dyn DeadLetterStore>::new(
        resource("dlq").dead_letters(runtime).await.unwrap(),
        trouble,
        runtime,
    );
    let once = Idempotency::new(ids, IdempotencyOptions::default(), runtime).unwrap();
    let options = DeadLetterOptions {
        attempts: ATTEMPTS,
        on_exhausted: mode,
        ..DeadLetterOptions::default()
    };
    let put = DeadLetters::with_store(dead_letters.clone(), options, runtime).unwrap();
    let layers: [Arc<dyn Layer>; 2] = [Arc::new(once), Arc::new(put)];
    let consumer = LayeredConsumer::wrap(fake.clone(), &layers).unwrap();
    let mut seen = Seen {
        effects: BTreeMap::new(),
        failures: BTreeMap::new(),
        order: BTreeMap::new(),
    };
    loop {
        let max = 1 + runtime.random() as usize % 8;
        let batch_wait = runtime.jitter(Duration::from_millis(30));
        // Often cancelled, at any point.
        let received = futures::select_biased! {
            received = consumer.receive_batch(max).fuse() => received,
            () = runtime.sleep(batch_wait).fuse() => continue,
        };
        let batch = match received {
            Ok(batch) if batch.is_empty() => break,
            Ok(batch) => batch,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                continue;
            }
        };
        for delivery in batch {
            handle(seed, runtime, delivery, &mut seen).await;
        }
    }
    assert_eq!(fake.unsettled(), [""; 0]);
    check(
        seed,
        mode,
        &events,
        &seen,
        &all_dead_letters(&*dead_letters).await,
    );
}

async fn handle(seed: u64, runtime: &Runtime, delivery: Delivery, seen: &mut Seen) {
    if delivery.revoked().reason().is_some() {
        return;
    }
    let id = delivery.event().id().to_string();
    let key = delivery.event().key().unwrap().to_owned();
    seen.order.entry(key).or_default().push(id.clone());
    let done = match fate(seed, &id) {
        Fate::Fine => {
            *seen.effects.entry(id).or_default() += 1;
            let mut left = delivery.ack().await.err();
            // An ack that fails for now is tried again, as the worker does.
            while let Some(failed) = left.take_if(|failed| failed.error.is_retryable()) {
                left = failed.delivery.ack().await.err();
            }
            return assert!(left.is_none(), "seed {seed}: {left:?}");
        }
        Fate::Reject => delivery.reject("no").await,
        Fate::Fail => {
            *seen.failures.entry(id).or_default() += 1;
            if runtime.random().is_multiple_of(4) {
                return drop(delivery);
            }
            delivery.nack(Duration::from_millis(5)).await
        }
    };
    done.unwrap();
}

fn check(
    seed: u64,
    mode: OnExhausted,
    events: &[Event],
    seen: &Seen,
    dead_letters: &[aqueduct_core::DeadLetter],
) {
    let buried: BTreeMap<String, DeadLetterReason> = dead_letters
        .iter()
        .map(|it| (it.event.id().to_string(), it.reason))
        .collect();
    assert_eq!(
        buried.len(),
        dead_letters.len(),
        "seed {seed}: buried twice"
    );
    let all: BTreeSet<String> = events.iter().map(|it| it.id().to_string()).collect();
    for id in &all {
        let effects = seen.effects.get(id).copied().unwrap_or(0);
        let reason = buried.get(id).copied();
        match (fate(seed, id), reason) {
            (Fate::Fine, None) => assert_eq!(effects, 1, "seed {seed}: {id}"),
            (_, Some(DeadLetterReason::KeyHeld)) => {
                assert_eq!(mode, OnExhausted::DivertKey, "seed {seed}: {id}");
            }
            (Fate::Reject, Some(DeadLetterReason::Rejected)) => {}
            (Fate::Fail, Some(DeadLetterReason::Exhausted)) => {
                let failures = seen.failures.get(id).copied().unwrap_or(0);
                assert!(failures >= ATTEMPTS, "seed {seed}: {id}: {failures}");
            }
            (_, reason) => panic!("seed {seed}: {id}: {effects} effects, {reason:?}"),
        }
    }
    for (key, order) in &seen.order {
        let mut known = BTreeSet::new();
        let firsts: Vec<&String> = order.iter().filter(|id| known.insert(*id)).collect();
        assert!(firsts.is_sorted(), "seed {seed}: key {key}: {firsts:?}");
        if mode == OnExhausted::DivertKey {
            let first = dead_letters
                .iter()
                .find(|it| it.holds_key && it.event.key() == Some(key));
            let after = first.map(|it| it.event.id().to_string());
            let late = firsts
                .iter()
                .find(|id| after.as_ref().is_some_and(|it| it < **id));
            assert_eq!(late, None, "seed {seed}: handled behind a held key");
        }
    }
}

/// `AQUEDUCT_SEED=n` replays one seed.
#[test]
fn every_event_takes_effect_once_or_is_a_dead_letter() {
    let one = std::env::var("AQUEDUCT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..1000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(24 * 3600));
            let runtime = simulation.runtime();
            simulation.block_on(run(seed, &runtime)).unwrap();
        });
        assert!(outcome.is_ok(), "AQUEDUCT_SEED={seed} fails");
    }
}

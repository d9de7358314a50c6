use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Effect, ErrorKind, Event, Retry, Runtime};
use aqueduct_producer::{PartialFailure, Producer, ProducerOptions, RetryBudget};
use aqueduct_runtime::Simulation;

use super::faulty::{Faults, Faulty};

const KEYS: usize = 5;
const EVENTS: usize = 24;
const CARELESS: usize = 9;
/// The keys that share calls.
const SHARED: [usize; 3] = [6, 7, 8];

fn event(key: usize, n: usize) -> Event {
    Event::new("counted")
        .with_id(format!("{key}-{n:03}"))
        .with_source("/test")
        .with_key(format!("key-{key}"))
}

fn options(runtime: &Runtime) -> ProducerOptions {
    let pick = |choices: &[usize]| choices[runtime.random() as usize % choices.len()];
    let max_batch_events = pick(&[1, 3, 10, 500]);
    ProducerOptions {
        max_batch_events,
        max_buffered_events: max_batch_events.max(pick(&[4, 20, 1000])),
        in_flight: pick(&[1, 2, 4]),
        attempts: pick(&[2, 5, 10]) as u32,
        linger: Duration::from_millis(pick(&[0, 0, 3]) as u64),
        resend_unknown: pick(&[0, 1]) == 1,
        request_timeout: Duration::from_secs(2),
        deadline: Duration::from_secs(pick(&[5, 30, 120, 120]) as u64),
        budget: RetryBudget {
            share: pick(&[0, 1, 1]) as f64 / 5.0,
            per_second: pick(&[1, 10, 10]) as f64,
            reserve: pick(&[1, 10, 100]) as f64,
        },
        ..ProducerOptions::default()
    }
}

fn faults(runtime: &Runtime) -> Faults {
    let pick = |choices: &[u64]| choices[runtime.random() as usize % choices.len()];
    Faults {
        unavailable: pick(&[0, 50, 300]),
        unknown: pick(&[0, 0, 100]),
        hang: pick(&[0, 0, 20]),
        panic: pick(&[0, 0, 30]),
        throttled: pick(&[0, 50, 300]),
        event: pick(&[0, 50]),
        refused: pick(&[0, 0, 20]),
        slow: pick(&[0, 500, 1000]),
    }
}

/// Sends the events of one key in order, and begins again at the first that failed, as a caller
/// must who wants each of them stored. Returns how many were refused for good.
async fn pipelined(producer: Producer, backend: Arc<Faulty>, key: usize, width: usize) {
    let caller = format!("caller-{key}");
    let mut left: VecDeque<Event> = (0..EVENTS).map(|n| event(key, n)).collect();
    while !left.is_empty() {
        let mut pending = Vec::new();
        for event in left.iter().take(width) {
            backend.told(&caller, event, None);
            pending.push((
                event.clone(),
                producer.enqueue(event.clone()).await.unwrap(),
            ));
        }
        let mut failed = false;
        for (event, outcome) in pending {
            let outcome = outcome.await.map(|_| ());
            backend.told(&caller, &event, Some(&outcome));
            failed = check(&backend, &event, outcome, failed, &mut left);
        }
    }
}

async fn in_calls(producer: Producer, backend: Arc<Faulty>, key: usize, width: usize) {
    let caller = format!("caller-{key}");
    let mut left: VecDeque<Event> = (0..EVENTS).map(|n| event(key, n)).collect();
    while !left.is_empty() {
        let piece: Vec<Event> = left.iter().take(width).cloned().collect();
        for event in &piece {
            backend.told(&caller, event, None);
        }
        let outcomes = match producer.send_all(piece.clone()).await {
            Ok(receipts) => receipts.into_iter().map(Ok).collect(),
            Err(PartialFailure {
                outcomes, events, ..
            }) => {
                for (at, event) in &events {
                    assert_eq!(event, &piece[*at], "events come back under their index");
                    assert!(outcomes[*at].is_err());
                }
                outcomes
            }
        };
        assert_eq!(outcomes.len(), piece.len());
        let mut failed = false;
        for (event, outcome) in piece.iter().zip(outcomes) {
            let outcome = outcome.map(|_| ());
            backend.told(&caller, event, Some(&outcome));
            failed = check(&backend, event, outcome, failed, &mut left);
        }
    }
}

/// Goes away from every send, now or a little later: what is stored of the key keeps its order.
async fn careless(producer: Producer, backend: Arc<Faulty>, runtime: Runtime) {
    for n in 0..EVENTS {
        let batch_wait = runtime.jitter(Duration::from_millis(20));
        let event = event(CARELESS, n);
        backend.told("careless", &event, None);
        let sending = producer.send(event.clone());
        let outcome = runtime
            .timeout(batch_wait, "a careless send", sending)
            .await;
        let outcome = outcome.unwrap_or_else(Err).map(|_| ());
        backend.told("careless", &event, Some(&outcome));
    }
}

/// Several calls side by side, each of them a request's worth with the same keys: what is stored
/// of a key keeps the order of the calls.
async fn wholesale(producer: Producer, backend: Arc<Faulty>, width: usize) {
    let mut n = 0;
    while n < EVENTS * SHARED.len() {
        let calls = (0..3).map(|_| {
            let numbers = n..n + width;
            n += width;
            let events = numbers.map(|n| event(SHARED[n % SHARED.len()], n));
            let events: Vec<_> = events.collect();
            for event in &events {
                backend.told("wholesale", event, None);
            }
            // What fails is noted as soon as it is reported: later events may follow from then on.
            let (producer, backend) = (producer.clone(), backend.clone());
            async move {
                let outcomes = match producer.send_all(events.clone()).await {
                    Ok(_) => vec![Ok(()); width],
                    Err(failure) => {
                        assert_eq!(failure.outcomes.len(), width);
                        let outcomes = failure.outcomes.into_iter();
                        outcomes.map(|it| it.map(|_| ())).collect()
                    }
                };
                for (event, outcome) in events.iter().zip(&outcomes) {
                    backend.told("wholesale", event, Some(outcome));
                }
            }
        });
        let calls: Vec<_> = calls.collect();
        futures::future::join_all(calls).await;
    }
}

/// Checks that an outcome means what it says; removes what it completes from `left`.
fn check(
    backend: &Faulty,
    event: &Event,
    outcome: aqueduct_core::Result<()>,
    failed: bool,
    left: &mut VecDeque<Event>,
) -> bool {
    let id = event.id().to_string();
    match outcome {
        Ok(()) => {
            let state = backend.state.lock().unwrap();
            assert!(state.acknowledged.contains(&id), "{id} was never stored");
            assert!(!failed, "{id} was stored behind a failure of its key");
            assert_eq!(left.pop_front().as_ref(), Some(event));
            false
        }
        Err(error) if failed => {
            // Blocked, or lost in the same request as what failed before it.
            let blocked = error.is(ErrorKind::Blocked) || error.effect() == Effect::Unknown;
            assert!(blocked, "{id}: {error:?}");
            true
        }
        Err(error) => {
            if error.is(ErrorKind::Invalid) {
                assert!(backend.state.lock().unwrap().refused.contains(&id));
                left.pop_front();
            } else {
                let told = error.retry() == Retry::Exhausted || error.effect() == Effect::Unknown;
                assert!(told, "{id}: {error:?}");
            }
            true
        }
    }
}

fn run(seed: u64) -> (u64, Vec<String>) {
    let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(24 * 3600));
    let runtime = simulation.runtime();
    let backend = Faulty::new(&runtime, faults(&runtime));
    let options = options(&runtime);
    let (in_flight, buffered) = (options.in_flight, options.max_buffered_events);
    let whole = options.max_batch_events.min(8);
    let producer = Producer::new(backend.clone(), options, &runtime);
    simulation
        .block_on(async {
            let mut callers = Vec::new();
            for key in 0..KEYS {
                let width = [1, 4, EVENTS][runtime.random() as usize % 3].min(buffered);
                let (producer, backend) = (producer.clone(), backend.clone());
                callers.push(if runtime.random().is_multiple_of(2) {
                    runtime.spawn(pipelined(producer, backend, key, width))
                } else {
                    runtime.spawn(in_calls(producer, backend, key, width))
                });
            }
            callers.push(runtime.spawn(careless(
                producer.clone(),
                backend.clone(),
                runtime.clone(),
            )));
            callers.push(runtime.spawn(wholesale(producer.clone(), backend.clone(), whole)));
            // Keyless events beside them, whose caller goes away: they must not matter.
            for n in 0..10 {
                let lone = Event::new("lone")
                    .with_id(format!("lone-{n}"))
                    .with_source("/t");
                drop(producer.enqueue(lone).await.unwrap());
            }
            for caller in callers {
                caller.await.unwrap();
            }
            let _ = producer.flush().await;
            producer.close().await.ok();
        })
        .unwrap_or_else(|stalled| panic!("seed {seed}: {stalled:?}"));
    let now = runtime.now().elapsed_since_origin().as_micros() as u64;
    let mut history = backend.history.lock().unwrap();
    history.end(now, Ok(()));
    if let Ok(path) = std::env::var("AQUEDUCT_HISTORY") {
        let file = std::fs::File::create(path).unwrap();
        history.write(std::io::BufWriter::new(file)).unwrap();
    }
    let verdict = aqueduct_history::check(history.records());
    assert!(verdict.is_ok(), "seed {seed}: {verdict}");
    let state = backend.state.lock().unwrap();
    assert_eq!(state.broken, Vec::<String>::new(), "seed {seed}");
    assert!(state.most_in_flight <= in_flight, "seed {seed}");
    assert!(state.closed);
    let (refused, trace) = (state.refused.clone(), state.trace.clone());
    drop(state);
    let expected: BTreeMap<String, Vec<String>> = (0..KEYS)
        .map(|key| {
            let ids = (0..EVENTS).map(|n| event(key, n).id().to_string());
            let ids = ids.filter(|id| !refused.contains(id)).collect();
            (format!("key-{key}"), ids)
        })
        .collect();
    let mut stored = backend.first_occurrences();
    stored.remove("");
    for key in SHARED.into_iter().chain([CARELESS]) {
        let ids = stored.remove(&format!("key-{key}"));
        assert!(
            ids.is_none_or(|it| it.is_sorted()),
            "seed {seed}: key {key}"
        );
    }
    for ids in stored.values_mut() {
        ids.retain(|id| !refused.contains(id));
    }
    assert_eq!(stored, expected, "seed {seed}");
    (simulation.fingerprint(), trace)
}

/// Returns a number of the environment; a value that is no number is refused.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name}=`{text}` is not a number"),
    }
}

/// `AQUEDUCT_SEED=n` replays one seed, `AQUEDUCT_SEEDS=n` runs that many.
#[test]
fn every_key_is_stored_whole_and_in_order_whatever_fails() {
    let seeds = match number("AQUEDUCT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("AQUEDUCT_SEEDS").unwrap_or(2_000),
    };
    for seed in seeds {
        let Err(why) = std::panic::catch_unwind(|| run(seed)) else {
            continue;
        };
        let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
        let line = why.lines().nth(1).unwrap_or(&why).trim();
        println!(r#"{{"simulation":"producer","first_failed":{seed},"why":{line:?}}}"#);
        panic!("AQUEDUCT_SEED={seed} fails");
    }
}

#[test]
fn the_same_seed_takes_the_same_way() {
    for seed in 0..30 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1).1, run(2).1);
}

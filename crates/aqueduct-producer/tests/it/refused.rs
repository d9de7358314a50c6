//! Rates with a service that refuses single records, on the simulated clock. The README states the figures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::{
    BatchProducer as _, Capabilities, Claims, Error, ErrorKind, Event, Instant, Lane, Limits,
    Position, Receipt, Result, Runtime, SendReport,
};
use aqueduct_producer::{Producer, ProducerOptions};
use aqueduct_runtime::Simulation;
use async_trait::async_trait;

const KEYS: usize = 20;
const LANES: u64 = 3;

/// How long one request of the service takes.
const ROUND_TRIP: Duration = Duration::from_millis(10);

/// A service that takes one record of each key in a request, and refuses records.
struct Service {
    runtime: Runtime,
    refuses: Refuses,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy)]
enum Refuses {
    /// Records at random, in thousandths, with this kind.
    Some(u64, ErrorKind),
    /// Those that a lane is sent beyond this number in a second.
    Beyond(u64),
}

#[derive(Default)]
struct Seen {
    stored: BTreeMap<String, Vec<u64>>,
    refused: u64,
    /// The beginning of a lane's second, and the records in it.
    seconds: BTreeMap<u64, (Instant, u64)>,
}

impl Service {
    fn take(&self, event: &Event) -> Result<Receipt> {
        let mut seen = self.seen.lock().unwrap();
        let refusal = match self.refuses {
            Refuses::Some(share, kind) => (self.runtime.random() % 1000 < share).then_some(kind),
            Refuses::Beyond(limit) => {
                let now = self.runtime.now();
                let Lane(lane) = self.lane(event);
                let second = seen.seconds.entry(lane).or_insert((now, 0));
                if now.since(second.0) >= Duration::from_secs(1) {
                    *second = (now, 0);
                }
                second.1 += 1;
                (second.1 > limit).then_some(ErrorKind::Throttled)
            }
        };
        if let Some(kind) = refusal {
            seen.refused += 1;
            return Err(Error::new(kind, "this record, now"));
        }
        let number = event.id().to_string().parse().unwrap();
        let key = event.key().unwrap().to_owned();
        seen.stored.entry(key).or_default().push(number);
        Ok(Receipt::at("0".into(), Position::new(number)))
    }
}

#[async_trait]
impl aqueduct_core::BatchProducer for Service {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        let mut queues: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, event) in events.iter().enumerate().rev() {
            queues.entry(event.key().unwrap()).or_default().push(at);
        }
        let mut outcomes: Vec<Option<Result<Receipt>>> = vec![None; events.len()];
        while !queues.is_empty() {
            self.runtime.sleep(ROUND_TRIP).await;
            queues.retain(|_, queue| {
                let Some(at) = queue.pop() else { return false };
                let outcome = self.take(&events[at]);
                if outcome.is_err() {
                    for behind in queue.drain(..) {
                        let error = Error::new(ErrorKind::Blocked, "behind a refused one");
                        outcomes[behind] = Some(Err(error));
                    }
                }
                outcomes[at] = Some(outcome);
                !queue.is_empty()
            });
        }
        SendReport::new(outcomes.into_iter().map(Option::unwrap).collect())
    }

    fn lane(&self, event: &Event) -> Lane {
        let key: u64 = event.key().unwrap().parse().unwrap();
        Lane(key % LANES)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::none(),
            limits: Limits::default(),
        }
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Sends that many events over the keys; returns how long it took, and how many records were refused.
fn send(seed: u64, events: u64, refuses: Refuses) -> (Duration, u64) {
    let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(3600));
    let runtime = simulation.runtime();
    let sent = simulation.block_on(async {
        let service = Arc::new(Service {
            runtime: runtime.clone(),
            refuses,
            seen: Mutex::default(),
        });
        let producer = Producer::new(service.clone(), ProducerOptions::default(), &runtime);
        let begun = runtime.now();
        let event = |number: u64| {
            Event::new("counted")
                .with_id(number.to_string())
                .with_source("/test")
                .with_key((number % KEYS as u64).to_string())
        };
        let failed = producer.send_all((0..events).map(event).collect()).await;
        assert!(failed.is_ok(), "an event was given up");
        let took = runtime.now().since(begun);
        let seen = service.seen.lock().unwrap();
        let stored: usize = seen.stored.values().map(Vec::len).sum();
        assert_eq!(stored as u64, events, "each event is stored once");
        for (key, numbers) in &seen.stored {
            assert!(numbers.is_sorted(), "key {key}: {numbers:?}");
        }
        (took, seen.refused)
    });
    sent.unwrap()
}

#[test]
fn a_refused_record_holds_back_its_key_alone() {
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable] {
        for seed in 1..=5 {
            let (took, refused) = send(seed, 1500, Refuses::Some(200, kind));
            assert!(refused > 250, "{refused}");
            assert!(took < Duration::from_secs(6), "{kind:?} {seed}: {took:?}");
        }
    }
}

/// Longer than the retry budget's reserve lasts.
#[test]
fn one_record_in_five_refused_leaves_400_events_a_second() {
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable] {
        let (took, _) = send(1, 15_000, Refuses::Some(200, kind));
        let rate = 15_000.0 / took.as_secs_f64();
        assert!(rate >= 400.0, "{kind:?}: {rate} events/s");
    }
}

/// 900 events a second fit.
#[test]
fn a_lane_over_its_limit_is_paused_and_wastes_little() {
    for seed in 1..=3 {
        let (took, refused) = send(seed, 9000, Refuses::Beyond(300));
        let rate = 9000.0 / took.as_secs_f64();
        assert!(rate >= 400.0, "{seed}: {rate} events/s");
        assert!(refused < 300, "{seed}: {refused} refused");
    }
}

//! Every accepted event has an outcome by its deadline, whatever happens to the others.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Capabilities, Claims, Error, ErrorKind, Event, Instant, Lane, Limits, Receipt, Result, Retry,
    Runtime, SendReport,
};
use aqueduct_producer::{Producer, ProducerOptions};
use aqueduct_runtime::Simulation;
use async_trait::async_trait;

const LANES: u64 = 200;
const EVENTS: u64 = 50;

/// Throttles every event until a time; each key has a lane of its own.
struct Throttling {
    runtime: Runtime,
    until: Instant,
}

#[async_trait]
impl aqueduct_core::BatchProducer for Throttling {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        self.runtime.sleep(Duration::from_millis(5)).await;
        if self.runtime.now() < self.until {
            let error = Error::new(ErrorKind::Throttled, "over the limit");
            return SendReport::failed(events.len(), &error);
        }
        SendReport::new(events.iter().map(|_| Ok(Receipt::default())).collect())
    }

    fn lane(&self, event: &Event) -> Lane {
        Lane(event.key().and_then(|key| key.parse().ok()).unwrap_or(0))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::none(),
            limits: Limits {
                batch_events: Some(500),
                ..Limits::default()
            },
        }
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn event(lane: u64, number: u64, keyed: bool) -> Event {
    let event = Event::new("counted")
        .with_id(format!("{lane}-{number}"))
        .with_source("/test");
    match keyed {
        true => event.with_key(lane.to_string()),
        false => event,
    }
}

/// Returns how long after it was accepted the last event had its outcome.
fn storm(seed: u64, keyed: bool) -> Duration {
    let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(2 * 3600));
    let runtime = simulation.runtime();
    let backend = Throttling {
        runtime: runtime.clone(),
        until: runtime.now() + Duration::from_secs(300),
    };
    let options = ProducerOptions::default();
    let producer = Producer::new(Arc::new(backend), options, &runtime);
    simulation
        .block_on(async {
            let mut pending = Vec::new();
            for number in 0..EVENTS {
                for lane in 0..LANES {
                    let event = event(lane, number, keyed);
                    pending.push((runtime.now(), producer.enqueue(event).await.unwrap()));
                }
            }
            let mut longest = Duration::ZERO;
            let ends = pending.into_iter().map(|(accepted, outcome)| {
                let runtime = runtime.clone();
                async move {
                    let outcome = outcome.await;
                    if let Err(error) = &outcome {
                        let told =
                            error.retry() == Retry::Exhausted || error.is(ErrorKind::Blocked);
                        assert!(told, "{error:?}");
                    }
                    runtime.now().since(accepted)
                }
            });
            for took in futures::future::join_all(ends).await {
                longest = longest.max(took);
            }
            let flush = producer.flush();
            runtime
                .timeout(Duration::from_secs(60), "a flush", flush)
                .await
                .unwrap()
                .ok();
            producer.close().await.unwrap();
            longest
        })
        .unwrap_or_else(|stalled| panic!("seed {seed}: {stalled:?}"))
}

#[test]
fn a_storm_of_throttles_leaves_no_event_without_outcome() {
    let deadline = ProducerOptions::default().deadline;
    for seed in 0..10 {
        for keyed in [true, false] {
            let longest = storm(seed, keyed);
            // A request that is under way at the deadline ends first.
            let limit = deadline + Duration::from_secs(1);
            assert!(longest <= limit, "seed {seed}: {longest:?}");
        }
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_core::{Error, ErrorKind, Result};
use aqueduct_producer::{PartialFailure, Producer};
use tokio::task::JoinHandle;

use super::client::{
    FULL, JSON, OFF, ON, RAW, STREAM, Side, UNLIMITED, Wire, create_stream, event, joined, sdk,
    source,
};
use super::server::{Kind, Server};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter};
use crate::memory::block_on;

/// The number of requests in flight of the SDK, and the default of the producer engine.
pub(super) const IN_FLIGHT: usize = 4;
const SHARDS: i32 = 4;
/// The number of events of one aggregated request.
const MANY: usize = 5_000;

const REQUESTS: &str = "requests_per_100k_events";

/// Events of 100 B of JSON under 1,000 keys, created and serialized by the contestant.
///
/// `sdk`: PutRecords with 500 records, 4 in flight. `single`: without aggregation. `raw`: only the data
/// on the wire, otherwise CloudEvents in JSON. `bare`: `BatchProducer::send_batch`, 4 in flight, without the
/// producer engine and, since nothing retries then, without the rate limiter. `enqueue`: event by event
/// through the engine, otherwise `send_all`.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("sdk", FULL, |events, batch| {
        with_sdk(events, batch, Wire::Data)
    }),
    contestant("single-raw", FULL, |events, batch| {
        with_engine(events, batch, &[OFF, RAW])
    }),
    contestant("bare-single-raw", FULL, |events, batch| {
        with_producer(events, batch, &[OFF, RAW, UNLIMITED])
    }),
    contestant("sdk-cloudevents", FULL, |events, batch| {
        with_sdk(events, batch, Wire::CloudEvents)
    }),
    contestant("single", FULL, |events, batch| {
        with_engine(events, batch, &[OFF, JSON])
    }),
    contestant("aggregated-raw", MANY, |events, batch| {
        with_engine(events, batch, &[ON, RAW])
    }),
    contestant("bare-aggregated-raw", MANY, |events, batch| {
        with_producer(events, batch, &[ON, RAW, UNLIMITED])
    }),
    contestant("aggregated", MANY, |events, batch| {
        with_engine(events, batch, &[JSON])
    }),
    contestant("enqueue-aggregated", MANY, |events, batch| {
        with_enqueue(events, batch, &[JSON])
    }),
    contestant("bare-aggregated", MANY, |events, batch| {
        with_producer(events, batch, &[JSON, UNLIMITED])
    }),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "requests per 100,000 events, aggregated",
        bound: Bound::AtMost(30.0),
        value: |round| round.extra("aggregated", REQUESTS),
    },
    Aim {
        what: "requests per 100,000 events, aggregated, event by event",
        bound: Bound::AtMost(30.0),
        value: |round| round.extra("enqueue-aggregated", REQUESTS),
    },
    Aim {
        what: "CPU of an event, aggregated through the engine, to PutRecords of the SDK (raw encoding)",
        bound: Bound::AtMost(1.0),
        value: |round| round.cpu_ratio("aggregated-raw", "sdk"),
    },
    Aim {
        what: "CPU of an event, aggregated through the engine, to PutRecords of the SDK (CloudEvents in both)",
        bound: Bound::AtMost(1.0),
        value: |round| round.cpu_ratio("aggregated", "sdk-cloudevents"),
    },
    Aim {
        what: "CPU of an event, aggregated through the engine as CloudEvents, to PutRecords of 100 B",
        bound: Bound::AtMost(1.0),
        value: |round| round.cpu_ratio("aggregated", "sdk"),
    },
    Aim {
        what: "rate without aggregation through the engine to PutRecords of the SDK (raw encoding)",
        bound: Bound::AtLeast(0.9),
        value: |round| round.rate_ratio("single-raw", "sdk"),
    },
    Aim {
        what: "rate without aggregation through the engine to PutRecords of the SDK (CloudEvents in both)",
        bound: Bound::AtLeast(0.9),
        value: |round| round.rate_ratio("single", "sdk-cloudevents"),
    },
    Aim {
        what: "rate without aggregation by send_batch to PutRecords of the SDK (raw encoding)",
        bound: Bound::AtLeast(0.9),
        value: |round| round.rate_ratio("bare-single-raw", "sdk"),
    },
];

const fn contestant(
    name: &'static str,
    batch: usize,
    run: fn(u64, usize) -> Result<Figures>,
) -> Contestant {
    Contestant {
        name,
        direction: None,
        batch,
        run,
    }
}

/// Numbers in batches, each taken once by the next task that asks.
pub(super) struct Numbers {
    next: AtomicU64,
    events: u64,
    batch: u64,
}

impl Numbers {
    pub(super) fn new(events: u64, batch: usize) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(0),
            events,
            batch: batch as u64,
        })
    }

    pub(super) fn take(&self) -> Option<std::ops::Range<u64>> {
        let first = self.next.fetch_add(self.batch, Ordering::Relaxed);
        (first < self.events).then(|| first..self.events.min(first + self.batch))
    }
}

/// A separate stream in a separate server.
async fn stream() -> Result<(Server, Side)> {
    let server = Server::start(Kind::Kinesis)?;
    let side = Side::new(&server.endpoint);
    create_stream(&side.kinesis().await?, SHARDS).await?;
    Ok((server, side))
}

/// Sends as many events unmeasured first: then connections and buffers exist, and the producer has
/// learned that these shards accept more than those of the service.
fn warm_up(events: u64) -> u64 {
    events
}

pub(super) struct Measured<'a> {
    side: &'a Side,
    meter: Meter,
    requests: u64,
}

impl<'a> Measured<'a> {
    pub(super) fn begin(side: &'a Side) -> Self {
        Self {
            requests: side.traffic.requests(),
            side,
            meter: Meter::begin(),
        }
    }

    pub(super) fn end(self, events: u64) -> Figures {
        let figures = self.meter.end(events);
        let requests = self.side.traffic.requests() - self.requests;
        figures.with(REQUESTS, requests as f64 * 1e5 / events as f64)
    }
}

fn with_sdk(events: u64, batch: usize, wire: Wire) -> Result<Figures> {
    block_on(async {
        let (_server, side) = stream().await?;
        let client = side.kinesis().await?;
        put_all(&client, Numbers::new(warm_up(events), batch), wire).await?;
        let measured = Measured::begin(&side);
        put_all(&client, Numbers::new(events, batch), wire).await?;
        Ok(measured.end(events))
    })
}

async fn put_all(
    client: &aws_sdk_kinesis::Client,
    numbers: Arc<Numbers>,
    wire: Wire,
) -> Result<()> {
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (client, numbers) = (client.clone(), numbers.clone());
            tokio::spawn(async move {
                while let Some(some) = numbers.take() {
                    put(&client, some, wire).await?;
                }
                Ok(())
            })
        })
        .collect();
    finish(tasks).await
}

/// Fills the stream with these events.
pub(super) async fn fill(side: &Side, events: u64, wire: Wire) -> Result<()> {
    if wire != Wire::Aggregated {
        return put_all(&side.kinesis().await?, Numbers::new(events, FULL), wire).await;
    }
    let runtime = aqueduct_runtime::tokio();
    let engine = side.engine(&[wire.encoding()], &runtime).await?;
    send_all(&engine, Numbers::new(events, MANY)).await?;
    engine.close().await
}

async fn put(
    client: &aws_sdk_kinesis::Client,
    numbers: std::ops::Range<u64>,
    wire: Wire,
) -> Result<()> {
    let records = numbers.map(|number| wire.record(number));
    let answer = client
        .put_records()
        .stream_name(STREAM)
        .set_records(Some(records.collect::<Result<_>>()?))
        .send()
        .await
        .map_err(|e| sdk("PutRecords", e))?;
    match answer.failed_record_count() {
        Some(failed) if failed > 0 => Err(Error::new(
            ErrorKind::Unavailable,
            format!("PutRecords: {failed} records failed"),
        )),
        _ => Ok(()),
    }
}

fn with_engine(events: u64, batch: usize, set: &[(&str, &str)]) -> Result<Figures> {
    block_on(async {
        let (_server, side) = stream().await?;
        let runtime = aqueduct_runtime::tokio();
        let engine = side.engine(set, &runtime).await?;
        send_all(&engine, Numbers::new(warm_up(events), batch)).await?;
        let measured = Measured::begin(&side);
        send_all(&engine, Numbers::new(events, batch)).await?;
        let figures = measured.end(events);
        engine.close().await?;
        Ok(figures)
    })
}

/// Makes as many concurrent calls of `send_all` as the SDK has requests in flight.
pub(super) async fn send_all(engine: &Producer, numbers: Arc<Numbers>) -> Result<()> {
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (engine, numbers) = (engine.clone(), numbers.clone());
            tokio::spawn(async move {
                while let Some(some) = numbers.take() {
                    let events = some.map(event).collect::<Result<Vec<_>>>()?;
                    engine.send_all(events).await.map_err(failed)?;
                }
                Ok(())
            })
        })
        .collect();
    finish(tasks).await
}

fn failed(failure: PartialFailure) -> Error {
    failure.into()
}

/// Enqueues event after event in one task, and awaits the outcomes as they follow.
fn with_enqueue(events: u64, batch: usize, set: &[(&str, &str)]) -> Result<Figures> {
    block_on(async {
        let (_server, side) = stream().await?;
        let runtime = aqueduct_runtime::tokio();
        let engine = side.engine(set, &runtime).await?;
        enqueue(&engine, warm_up(events), batch).await?;
        let measured = Measured::begin(&side);
        enqueue(&engine, events, batch).await?;
        let figures = measured.end(events);
        engine.close().await?;
        Ok(figures)
    })
}

async fn enqueue(engine: &Producer, events: u64, batch: usize) -> Result<()> {
    let ahead = batch * IN_FLIGHT;
    let mut pending = std::collections::VecDeque::with_capacity(ahead);
    for number in 0..events {
        if pending.len() == ahead
            && let Some(oldest) = pending.pop_front()
        {
            oldest.await?;
        }
        pending.push_back(engine.enqueue(event(number)?).await?);
    }
    for pending in pending {
        pending.await?;
    }
    Ok(())
}

fn with_producer(events: u64, batch: usize, set: &[(&str, &str)]) -> Result<Figures> {
    block_on(async {
        let (_server, side) = stream().await?;
        let runtime = aqueduct_runtime::tokio();
        let producer = side.resource(set)?.producer(&runtime).await?;
        send_batches(&producer, Numbers::new(warm_up(events), batch)).await?;
        let measured = Measured::begin(&side);
        send_batches(&producer, Numbers::new(events, batch)).await?;
        let figures = measured.end(events);
        producer.close().await?;
        Ok(figures)
    })
}

async fn send_batches(
    producer: &Arc<dyn aqueduct_core::BatchProducer>,
    numbers: Arc<Numbers>,
) -> Result<()> {
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (producer, numbers) = (producer.clone(), numbers.clone());
            tokio::spawn(async move {
                while let Some(some) = numbers.take() {
                    let events = some.map(|number| Ok(event(number)?.with_source(source())));
                    let events = events.collect::<Result<Vec<_>>>()?;
                    producer.send_batch(&events).await.into_result()?;
                }
                Ok(())
            })
        })
        .collect();
    finish(tasks).await
}

pub(super) async fn finish(tasks: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    for task in tasks {
        joined(task.await)?;
    }
    Ok(())
}

use aqueduct_core::{Error, Event, Result};
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use super::canned;
use super::client::{FULL, JSON, OFF, RAW, STREAM, Side, Wire, event, record, sdk, source};
use crate::Contestant;
use crate::aims::{Aim, Bound, Round};
use crate::measure::{Figures, Meter};
use crate::memory::block_on;

/// PutRecords with 500 records, one after the other, with responses from memory: each contestant makes
/// the same requests, and creates and serializes the data itself.
///
/// `sdk`: the SDK alone, with data from the application's own type. `sdk-events`: the same data from
/// an event with id, key and source, as `producer` gets it. `producer`: `BatchProducer::send_batch`.
/// `engine`: `send_all` of the producer engine. `cloudevents`: CloudEvents in JSON, otherwise only the
/// 100 B.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("sdk", |events, batch| {
        with_sdk(events, batch, |number| Wire::Data.record(number))
    }),
    contestant("producer", |events, batch| {
        with_producer(events, batch, Wire::Data)
    }),
    contestant("engine", |events, batch| {
        with_engine(events, batch, Wire::Data)
    }),
    contestant("sdk-events", |events, batch| {
        with_sdk(events, batch, record_of_event)
    }),
    contestant("sdk-cloudevents", |events, batch| {
        with_sdk(events, batch, |number| Wire::CloudEvents.record(number))
    }),
    contestant("producer-cloudevents", |events, batch| {
        with_producer(events, batch, Wire::CloudEvents)
    }),
    contestant("engine-cloudevents", |events, batch| {
        with_engine(events, batch, Wire::CloudEvents)
    }),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "instructions of the producer to those of the SDK for the same requests, SHA-256 left out",
        bound: Bound::AtMost(1.1),
        value: |round| instructions(round, "producer", "sdk"),
    },
    Aim {
        what: "instructions of the producer to those of the SDK for the same requests, of the same events, SHA-256 left out",
        bound: Bound::AtMost(1.1),
        value: |round| instructions(round, "producer", "sdk-events"),
    },
    Aim {
        what: "instructions of the producer to those of the SDK for the same requests, SHA-256 left out (CloudEvents)",
        bound: Bound::AtMost(1.1),
        value: |round| instructions(round, "producer-cloudevents", "sdk-cloudevents"),
    },
    Aim {
        what: "instructions of engine and producer to those of the SDK for the same requests, SHA-256 left out",
        bound: Bound::AtMost(1.1),
        value: |round| instructions(round, "engine", "sdk"),
    },
    Aim {
        what: "CPU time of the producer to that of the SDK for the same requests, all in",
        bound: Bound::AtMost(1.1),
        value: |round| round.cpu_ratio("producer", "sdk"),
    },
];

const fn contestant(name: &'static str, run: fn(u64, usize) -> Result<Figures>) -> Contestant {
    Contestant {
        name,
        direction: None,
        batch: FULL,
        run,
    }
}

/// Excludes SHA-256, which is the same for both and would hide the rest.
fn instructions(round: &Round<'_>, ours: &str, theirs: &str) -> Option<f64> {
    let of = |name| {
        let count = round.figures(name)?.instructions?;
        Some(count.all - count.sha256)
    };
    Some(of(ours)? / of(theirs)?)
}

/// Returns the options, without aggregation.
fn options(wire: Wire) -> [(&'static str, &'static str); 2] {
    [OFF, if wire == Wire::Data { RAW } else { JSON }]
}

fn side() -> Side {
    Side::over("http://127.0.0.1:9", canned::kinesis())
}

/// The most batches sent before measuring, never more than are measured: by then the rate limiter has
/// learned that these shards accept more than those of the service.
const WARM_UP: u64 = 100;

/// Calls `send` with the numbers of each batch.
async fn batches(
    events: u64,
    batch: usize,
    mut send: impl AsyncFnMut(std::ops::Range<u64>) -> Result<()>,
) -> Result<Figures> {
    let batch = batch as u64;
    let count = events.div_ceil(batch);
    for at in 0..WARM_UP.min(count) {
        send(at * batch..(at + 1) * batch).await?;
    }
    let meter = Meter::begin();
    for at in 0..count {
        send(at * batch..(at + 1) * batch).await?;
    }
    Ok(meter.end(count * batch))
}

/// Returns the data of an event as an application with events and only the SDK would send it.
fn record_of_event(number: u64) -> Result<PutRecordsRequestEntry> {
    let event = event(number)?.with_source(source());
    let data = event.data().map(|data| data.to_vec());
    record(data.unwrap_or_default(), event.key().unwrap_or_default())
}

fn with_sdk(
    events: u64,
    batch: usize,
    record: fn(u64) -> Result<PutRecordsRequestEntry>,
) -> Result<Figures> {
    block_on(async {
        let client = side().kinesis().await?;
        batches(events, batch, async |numbers| {
            let records = numbers.map(record);
            let answer = client
                .put_records()
                .stream_name(STREAM)
                .set_records(Some(records.collect::<Result<_>>()?))
                .send()
                .await
                .map_err(|e| sdk("PutRecords", e))?;
            std::hint::black_box(answer.records().len());
            Ok(())
        })
        .await
    })
}

fn made(numbers: std::ops::Range<u64>) -> Result<Vec<Event>> {
    numbers
        .map(|number| Ok(event(number)?.with_source(source())))
        .collect()
}

fn with_producer(events: u64, batch: usize, wire: Wire) -> Result<Figures> {
    block_on(async {
        let runtime = aqueduct_runtime::tokio();
        let producer = side().resource(&options(wire))?.producer(&runtime).await?;
        batches(events, batch, async |numbers| {
            let report = producer.send_batch(&made(numbers)?).await;
            report.into_result().map(drop)
        })
        .await
    })
}

fn with_engine(events: u64, batch: usize, wire: Wire) -> Result<Figures> {
    block_on(async {
        let runtime = aqueduct_runtime::tokio();
        let engine = side().engine(&options(wire), &runtime).await?;
        batches(events, batch, async |numbers| {
            let events = numbers.map(event).collect::<Result<Vec<_>>>()?;
            engine.send_all(events).await.map_err(Error::from)?;
            Ok(())
        })
        .await
    })
}

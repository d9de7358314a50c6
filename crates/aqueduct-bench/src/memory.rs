use std::sync::Arc;

use aqueduct_core::{
    Backend as _, BatchConsumer, Event, GroupName, Options, Result, SmallStr, Source, Url,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_memory::MemoryBackend;
use aqueduct_producer::{Producer, ProducerOptions};

use crate::Contestant;
use crate::measure::{Figures, Meter};
use crate::payload::Reading;
use crate::sqlite::invalid_url;

pub(crate) const CONTESTANTS: &[Contestant] = &[
    Contestant {
        name: "json",
        direction: None,
        batch: 1,
        run: json,
    },
    Contestant {
        name: "tokio-channel",
        direction: None,
        batch: 1,
        run: channel,
    },
    Contestant {
        name: "tokio-channel",
        direction: None,
        batch: 100,
        run: channel,
    },
    Contestant {
        name: "aqueduct",
        direction: None,
        batch: 1,
        run: aqueduct,
    },
    Contestant {
        name: "aqueduct",
        direction: None,
        batch: 100,
        run: aqueduct,
    },
];

/// Runs a tenth of the events unmeasured first, so that tables and buffers have their final size.
fn warm_up(events: u64) -> u64 {
    (events / 10).clamp(100, 10_000)
}

/// Serializes and deserializes JSON, and nothing else.
fn json(events: u64, _batch: usize) -> Result<Figures> {
    let round_trip = |number| {
        let text = serde_json::to_vec(&Reading::new(number)).map_err(bad_json)?;
        let back: Reading = serde_json::from_slice(&text).map_err(bad_json)?;
        Ok::<_, aqueduct_core::Error>(back.checksum())
    };
    let mut sum = 0;
    for number in 0..warm_up(events) {
        sum += round_trip(number)?;
    }
    let meter = Meter::begin();
    for number in 0..events {
        sum += round_trip(number)?;
    }
    let figures = meter.end(events);
    std::hint::black_box(sum);
    Ok(figures)
}

/// Sends JSON through a bounded tokio channel, in batches, by one task.
fn channel(events: u64, batch: usize) -> Result<Figures> {
    block_on(async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(batch.max(2));
        let mut received = Vec::with_capacity(batch);
        let mut sum = 0;
        let mut meter = None;
        let first = warm_up(events);
        let mut number = 0;
        while number < first + events {
            if number >= first && meter.is_none() {
                meter = Some(Meter::begin());
            }
            for _ in 0..batch {
                let text = serde_json::to_vec(&Reading::new(number)).map_err(bad_json)?;
                if sender.send(text).await.is_err() {
                    break;
                }
                number += 1;
            }
            let mut left = batch;
            while left > 0 {
                left -= receiver.recv_many(&mut received, left).await;
                for text in received.drain(..) {
                    sum += serde_json::from_slice::<Reading>(&text)
                        .map_err(bad_json)?
                        .checksum();
                }
            }
        }
        std::hint::black_box(sum);
        Ok(meter.unwrap_or_else(Meter::begin).end(events))
    })
}

/// Produces, receives, decodes and acknowledges through the producer, the memory backend and a group.
fn aqueduct(events: u64, batch: usize) -> Result<Figures> {
    block_on(async {
        let runtime = aqueduct_runtime::tokio();
        let url = Url::parse("memory:bench").map_err(invalid_url)?;
        let options = Options::new("streams.bench").with("max_events", "100000");
        let resource = MemoryBackend::new().parse("bench", &url, options)?;
        let options = ProducerOptions {
            source: Some(SmallStr::literal("/bench")),
            ..ProducerOptions::default()
        };
        let engine = Producer::new(resource.producer(&runtime).await?, options, &runtime);
        let Source::Log(log) = resource.source(&runtime).await? else {
            return Err(resource.does_not_offer("log"));
        };
        let leases = resource.leases(&runtime).await?;
        let options = GroupOptions::new(GroupName::new("bench"));
        let consumer = Group::open(log, leases, options, &runtime).await?;
        let mut number = 0;
        let first = warm_up(events);
        while number < first {
            number += exchange(&engine, &consumer, number, batch).await?;
        }
        let last = number + events;
        let meter = Meter::begin();
        while number < last {
            number += exchange(&engine, &consumer, number, batch).await?;
        }
        let figures = meter.end(events);
        consumer.close().await?;
        Ok(figures)
    })
}

async fn exchange(
    engine: &Producer,
    consumer: &Arc<dyn BatchConsumer>,
    from: u64,
    batch: usize,
) -> Result<u64> {
    let mut readings = Vec::with_capacity(batch);
    for number in from..from + batch as u64 {
        let reading = Reading::new(number);
        readings.push(Event::json("reading", &reading)?.with_key(reading.key()));
    }
    match readings.len() {
        1 => {
            engine.send(readings.remove(0)).await?;
        }
        _ => {
            engine.send_all(readings).await?;
        }
    }
    let mut left = batch;
    let mut sum = 0;
    while left > 0 {
        let deliveries = consumer.receive_batch(left).await?;
        left -= deliveries.len();
        for delivery in deliveries {
            sum += delivery.event().decode_json::<Reading>()?.checksum();
            delivery.ack().await?;
        }
    }
    std::hint::black_box(sum);
    Ok(batch as u64)
}

pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| {
            aqueduct_core::Error::new(
                aqueduct_core::ErrorKind::Internal,
                "the tokio runtime did not start",
            )
            .with_source(e)
        })?;
    runtime.block_on(work)
}

pub(crate) fn bad_json(error: serde_json::Error) -> aqueduct_core::Error {
    aqueduct_core::Error::new(
        aqueduct_core::ErrorKind::Internal,
        "a reading is not valid JSON",
    )
    .with_source(error)
}

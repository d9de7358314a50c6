use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aqueduct_core::{GroupName, Result, Source};
use aqueduct_queue::QueueOptions;
use tokio::sync::Notify;

use super::publish::{engine, send_all};
use super::{FULL, Numbers, Topic, client};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter};
use crate::memory::block_on;

/// 100 B of JSON with 1,000 ordering keys out of an ordered subscription, each acknowledged.
///
/// `client`: Google's subscriber with one stream, or with as many as `aqueduct` has by default.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("client, 1 stream", |events, _| plain(events, 1)),
    contestant("client, 8 streams", |events, _| plain(events, STREAMS)),
    contestant("aqueduct", |events, _| aqueduct(events)),
];

/// The default of the option `streams`.
const STREAMS: usize = 8;

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "rate, to the client with one stream",
        bound: Bound::AtLeast(5.0),
        value: |round| round.rate_ratio("aqueduct", "client, 1 stream"),
    },
    Aim {
        what: "rate, to the client with as many streams",
        bound: Bound::AtLeast(1.0),
        value: |round| round.rate_ratio("aqueduct", "client, 8 streams"),
    },
    Aim {
        what: "CPU of an event, to the client with as many streams",
        bound: Bound::AtMost(1.1),
        value: |round| round.cpu_ratio("aqueduct", "client, 8 streams"),
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

/// Returns a topic with events in the binary mode of CloudEvents, the same for all.
async fn filled(events: u64) -> Result<Topic> {
    let topic = Topic::create(true).await?;
    let engine = engine(&topic, "").await?;
    send_all(&engine, Numbers::new(events), true).await?;
    engine.close().await?;
    Ok(topic)
}

fn plain(events: u64, streams: usize) -> Result<Figures> {
    block_on(async {
        let topic = filled(events).await?;
        let subscriber = topic.subscriber().await?;
        let meter = Meter::begin();
        let left = Arc::new(AtomicI64::new(events as i64));
        let done = Arc::new(Notify::new());
        let tasks: Vec<_> = (0..streams)
            .map(|_| {
                let mut stream = subscriber.subscribe(topic.subscription()).build();
                let (left, done) = (left.clone(), done.clone());
                tokio::spawn(async move {
                    let mut bytes = 0;
                    while let Some(next) = stream.next().await {
                        let (message, handler) = next.map_err(|e| client("receiving", e))?;
                        bytes += message.data.len();
                        handler.ack();
                        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                            done.notify_one();
                        }
                    }
                    std::hint::black_box(bytes);
                    Ok::<(), aqueduct_core::Error>(())
                })
            })
            .collect();
        done.notified().await;
        let figures = meter.end(events);
        for task in tasks {
            task.abort();
        }
        Ok(figures)
    })
}

fn aqueduct(events: u64) -> Result<Figures> {
    block_on(async {
        let topic = filled(events).await?;
        let runtime = aqueduct_runtime::tokio();
        let resource = topic.resource("")?;
        let Source::Queue(source) = resource.source(&runtime).await? else {
            return Err(resource.does_not_offer("queue"));
        };
        let meter = Meter::begin();
        let options = QueueOptions::new(GroupName::new("bench"));
        let consumer = aqueduct_queue::open(&*source, options, &runtime).await?;
        let (mut left, mut bytes) = (events, 0);
        while left > 0 {
            let deliveries = consumer.receive_batch(FULL).await?;
            left = left.saturating_sub(deliveries.len() as u64);
            for delivery in deliveries {
                bytes += delivery.event().data().map_or(0, |data| data.len());
                delivery.ack().await?;
            }
        }
        consumer.flush().await?;
        let figures = meter.end(events);
        std::hint::black_box(bytes);
        consumer.close().await?;
        Ok(figures)
    })
}

use std::sync::Arc;

use aqueduct_core::{Result, SmallStr};
use aqueduct_producer::{Producer, ProducerOptions};
use google_cloud_pubsub::client::Publisher;
use google_cloud_pubsub::model::Message;

use super::{FULL, IN_FLIGHT, Numbers, Topic, client, data, event, finish};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter};
use crate::memory::block_on;
use crate::payload::Reading;

/// 100 B of JSON into a topic, 1,000 in each call, 4 calls at a time.
///
/// `client`: Google's publisher with batches of 1,000, only the data. `aqueduct raw`: the producer engine,
/// only the data. `aqueduct`: with the attributes of CloudEvents. With `keys`: 1,000 ordering keys.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("client", |events, _| plain(events, false)),
    contestant("aqueduct raw", |events, _| {
        aqueduct(events, false, "&encoding=raw")
    }),
    contestant("aqueduct", |events, _| aqueduct(events, false, "")),
    contestant("client keys", |events, _| plain(events, true)),
    contestant("aqueduct raw keys", |events, _| {
        aqueduct(events, true, "&encoding=raw")
    }),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "CPU of an event, to the client",
        bound: Bound::AtMost(1.1),
        value: |round| round.cpu_ratio("aqueduct raw", "client"),
    },
    Aim {
        what: "rate, to the client",
        bound: Bound::None,
        value: |round| round.rate_ratio("aqueduct raw", "client"),
    },
    Aim {
        what: "CPU of an event with keys, to the client",
        bound: Bound::None,
        value: |round| round.cpu_ratio("aqueduct raw keys", "client keys"),
    },
    Aim {
        what: "rate with keys, to the client",
        bound: Bound::None,
        value: |round| round.rate_ratio("aqueduct raw keys", "client keys"),
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

fn plain(events: u64, keyed: bool) -> Result<Figures> {
    block_on(async {
        let topic = Topic::create(keyed).await?;
        let publisher = topic
            .publisher()
            .await?
            .publisher(topic.path("topics"))
            .set_message_count_threshold(FULL as u32)
            .build();
        publish(&publisher, FULL as u64, keyed).await?;
        let meter = Meter::begin();
        publish(&publisher, events, keyed).await?;
        Ok(meter.end(events))
    })
}

/// Publishes with Google's client.
async fn publish(publisher: &Publisher, events: u64, keyed: bool) -> Result<()> {
    let numbers = Numbers::new(events);
    let tasks = (0..IN_FLIGHT).map(|_| {
        let (publisher, numbers) = (publisher.clone(), numbers.clone());
        tokio::spawn(async move {
            while let Some(some) = numbers.take() {
                let mut sent = Vec::with_capacity(FULL);
                for number in some {
                    let reading = Reading::new(number);
                    let mut message = Message::new().set_data(data(&reading)?);
                    if keyed {
                        message.ordering_key = reading.key().to_owned();
                    }
                    sent.push(publisher.publish(message));
                }
                for sent in sent {
                    sent.await.map_err(|e| client("publishing", e))?;
                }
            }
            Ok(())
        })
    });
    finish(tasks.collect()).await
}

fn aqueduct(events: u64, keyed: bool, query: &str) -> Result<Figures> {
    block_on(async {
        let topic = Topic::create(keyed).await?;
        let engine = engine(&topic, query).await?;
        send_all(&engine, Numbers::new(FULL as u64), keyed).await?;
        let meter = Meter::begin();
        send_all(&engine, Numbers::new(events), keyed).await?;
        let figures = meter.end(events);
        engine.close().await?;
        Ok(figures)
    })
}

pub(super) async fn engine(topic: &Topic, query: &str) -> Result<Producer> {
    let runtime = aqueduct_runtime::tokio();
    let options = ProducerOptions {
        source: Some(SmallStr::literal("/bench")),
        ..ProducerOptions::default()
    };
    let producer = topic.resource(query)?.producer(&runtime).await?;
    Ok(Producer::new(producer, options, &runtime))
}

pub(super) async fn send_all(engine: &Producer, numbers: Arc<Numbers>, keyed: bool) -> Result<()> {
    let tasks = (0..IN_FLIGHT).map(|_| {
        let (engine, numbers) = (engine.clone(), numbers.clone());
        tokio::spawn(async move {
            while let Some(some) = numbers.take() {
                let events = some
                    .map(|number| event(number, keyed))
                    .collect::<Result<Vec<_>>>()?;
                engine.send_all(events).await?;
            }
            Ok(())
        })
    });
    finish(tasks.collect()).await
}

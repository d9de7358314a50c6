use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_core::{Backend as _, GroupName, LeaseStore, Options, Result, Source, Url};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_memory::MemoryBackend;
use fe2o3_amqp::types::messaging::Body;
use fe2o3_amqp::types::primitives::Value;
use tokio::sync::Notify;

use super::hub::Hub;
use super::raw::{Client, failed};
use super::{FULL, PARTITIONS};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter};
use crate::memory::block_on;
use crate::sqlite::invalid_url;

/// CloudEvents with 100 B of JSON out of 4 partitions together.
///
/// `client`: the AMQP client with a receiver for each partition. `aqueduct`: a group with one member, each event
/// acknowledged, checkpoints in memory. `… 5 ms`: with a round trip of 5 ms.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("client", |events, _| client(events, false)),
    contestant("aqueduct", |events, _| aqueduct(events, false)),
    contestant("client 5 ms", |events, _| client(events, true)),
    contestant("aqueduct 5 ms", |events, _| aqueduct(events, true)),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "rate with checkpoints to the client's stream",
        bound: Bound::AtLeast(0.95),
        value: |round| round.rate_ratio("aqueduct", "client"),
    },
    Aim {
        what: "rate with checkpoints to the client's stream, round trip of 5 ms",
        bound: Bound::AtLeast(0.95),
        value: |round| round.rate_ratio("aqueduct 5 ms", "client 5 ms"),
    },
    Aim {
        what: "instructions of an event to the client's",
        bound: Bound::AtMost(1.15),
        value: |round| round.instruction_ratio("aqueduct", "client"),
    },
    Aim {
        what: "CPU of an event to the client's",
        bound: Bound::None,
        value: |round| round.cpu_ratio("aqueduct", "client"),
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

fn client(events: u64, slow: bool) -> Result<Figures> {
    block_on(async {
        let hub = Hub::filled(events, slow)?;
        let left = Arc::new(AtomicU64::new(events));
        let done = Arc::new(Notify::new());
        let meter = Meter::begin();
        let mut tasks = Vec::new();
        for partition in 0..PARTITIONS {
            // A connection for each partition, as the adapter has.
            let mut client = Client::open(&hub).await?;
            let mut receiver = client.receiver(partition).await?;
            let (left, done) = (left.clone(), done.clone());
            tasks.push(tokio::spawn(async move {
                let _client = client;
                let mut bytes = 0;
                loop {
                    let delivery = receiver.recv::<Body<Value>>().await;
                    let message = delivery.map_err(|e| failed("receiving", e))?.into_message();
                    if let Body::Data(data) = &message.body {
                        bytes += data.iter().map(|it| it.0.len()).sum::<usize>();
                    }
                    std::hint::black_box(bytes);
                    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                        done.notify_one();
                    }
                }
                #[allow(unreachable_code)]
                Ok::<(), aqueduct_core::Error>(())
            }));
        }
        done.notified().await;
        let figures = meter.end(events);
        for task in tasks {
            task.abort();
        }
        Ok(figures)
    })
}

fn aqueduct(events: u64, slow: bool) -> Result<Figures> {
    block_on(async {
        let hub = Hub::filled(events, slow)?;
        let runtime = aqueduct_runtime::tokio();
        let resource = hub.resource("cloudevents")?;
        let meter = Meter::begin();
        let Source::Log(log) = resource.source(&runtime).await? else {
            return Err(resource.does_not_offer("log"));
        };
        let options = GroupOptions::new(GroupName::new("bench"));
        let consumer = Group::open(log, leases().await?, options, &runtime).await?;
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

async fn leases() -> Result<Arc<dyn LeaseStore>> {
    let url = Url::parse("memory:leases").map_err(invalid_url)?;
    let memory = MemoryBackend::new().parse("leases", &url, Options::new("leases"))?;
    memory.leases(&aqueduct_runtime::tokio()).await
}

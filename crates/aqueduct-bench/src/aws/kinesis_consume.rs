use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Backend as _, BatchConsumer, GroupName, LeaseStore, Options, Result, Source, Url,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_memory::MemoryBackend;
use aws_sdk_kinesis::Client;

use super::client::{Side, Wire, create_stream, iterator, joined, sdk, shards};
use super::kinesis_publish::fill;
use super::server::{Kind, Server};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter};
use crate::memory::block_on;
use crate::sqlite::invalid_url;

pub(super) const SHARDS: i32 = 4;
/// The most records of one GetRecords, and the most events of one receive.
const GET: i32 = 10_000;
pub(super) const RECEIVE: usize = 1_000;

/// `sdk`: GetRecords with up to 10,000 records, a task for each shard, one request after the other.
/// `aqueduct`: the log, a group with leases in memory, each event acknowledged. `cloudevents`: the
/// records are CloudEvents in JSON, which `sdk` does not parse; otherwise only the 100 B.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("sdk", |events, _| with_sdk(events, Wire::Data)),
    contestant("aqueduct", |events, _| with_group(events, Wire::Data)),
    contestant("sdk-cloudevents", |events, _| {
        with_sdk(events, Wire::CloudEvents)
    }),
    contestant("cloudevents", |events, _| {
        with_group(events, Wire::CloudEvents)
    }),
    contestant("aggregated", |events, _| {
        with_group(events, Wire::Aggregated)
    }),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "rate of the group with leases in memory to GetRecords of the SDK (100 B records)",
        bound: Bound::AtLeast(0.85),
        value: |round| round.rate_ratio("aqueduct", "sdk"),
    },
    Aim {
        what: "rate of the group with leases in memory to GetRecords of the SDK (the same records, CloudEvents)",
        bound: Bound::AtLeast(0.85),
        value: |round| round.rate_ratio("cloudevents", "sdk-cloudevents"),
    },
];

const fn contestant(name: &'static str, run: fn(u64, usize) -> Result<Figures>) -> Contestant {
    Contestant {
        name,
        direction: None,
        batch: RECEIVE,
        run,
    }
}

/// A stream that is filled once and read by every contestant in every round.
pub(super) struct Filled {
    server: Server,
    events: u64,
    wire: Wire,
}

static FILLED: OnceLock<Mutex<Vec<Arc<Filled>>>> = OnceLock::new();

impl Filled {
    pub(super) async fn with(events: u64, wire: Wire) -> Result<Arc<Self>> {
        let all = FILLED.get_or_init(Mutex::default);
        let known = |it: &&Arc<Self>| it.events == events && it.wire == wire;
        if let Some(filled) = lock(all).iter().find(known) {
            return Ok(filled.clone());
        }
        let server = Server::start(Kind::Kinesis)?;
        let side = Side::new(&server.endpoint);
        create_stream(&side.kinesis().await?, SHARDS).await?;
        fill(&side, events, wire).await?;
        let filled = Arc::new(Self {
            server,
            events,
            wire,
        });
        lock(all).push(filled.clone());
        Ok(filled)
    }

    pub(super) fn side(&self) -> Side {
        Side::new(&self.server.endpoint)
    }
}

fn with_sdk(events: u64, wire: Wire) -> Result<Figures> {
    block_on(async {
        let filled = Filled::with(events, wire).await?;
        let client = filled.side().kinesis().await?;
        let shards = shards(&client).await?;
        let left = Arc::new(AtomicU64::new(events));
        let meter = Meter::begin();
        let tasks: Vec<_> = shards
            .into_iter()
            .map(|shard| tokio::spawn(read(client.clone(), shard, left.clone())))
            .collect();
        let mut bytes = 0;
        for task in tasks {
            bytes += joined(task.await)?;
        }
        std::hint::black_box(bytes);
        Ok(meter.end(events))
    })
}

/// Reads until all shards together have returned everything.
async fn read(client: Client, shard: String, left: Arc<AtomicU64>) -> Result<usize> {
    let mut next = iterator(&client, &shard).await?;
    let mut bytes = 0;
    while let (Some(at), 1..) = (next.take(), left.load(Ordering::Relaxed)) {
        let answer = client
            .get_records()
            .shard_iterator(at)
            .limit(GET)
            .send()
            .await
            .map_err(|e| sdk("GetRecords", e))?;
        let records = answer.records();
        bytes += records
            .iter()
            .map(|record| {
                record.data().as_ref().len() + record.partition_key().unwrap_or_default().len()
            })
            .sum::<usize>();
        left.fetch_sub(records.len() as u64, Ordering::Relaxed);
        next = answer.next_shard_iterator;
    }
    Ok(bytes)
}

fn with_group(events: u64, wire: Wire) -> Result<Figures> {
    block_on(async {
        let filled = Filled::with(events, wire).await?;
        consume(&filled.side(), memory_leases().await?, events, wire, || {}).await
    })
}

pub(super) async fn memory_leases() -> Result<Arc<dyn LeaseStore>> {
    let url = Url::parse("memory:leases").map_err(invalid_url)?;
    let memory = MemoryBackend::new().parse("leases", &url, Options::new("leases"))?;
    memory.leases(&aqueduct_runtime::tokio()).await
}

/// Reads everything in a group of one member; calls `begun` at the first events.
pub(super) async fn consume(
    side: &Side,
    leases: Arc<dyn LeaseStore>,
    events: u64,
    wire: Wire,
    begun: impl FnOnce(),
) -> Result<Figures> {
    let runtime = aqueduct_runtime::tokio();
    let meter = Meter::begin();
    let consumer = open(side, leases, wire, &runtime).await?;
    let mut left = events;
    let mut bytes = 0;
    let mut begun = Some(begun);
    while left > 0 {
        let deliveries = consumer.receive_batch(RECEIVE).await?;
        if let Some(begun) = begun.take() {
            begun();
        }
        left = left.saturating_sub(deliveries.len() as u64);
        for delivery in deliveries {
            bytes += delivery.event().data().map_or(0, |data| data.len());
            delivery.ack().await?;
        }
    }
    let figures = meter.end(events);
    std::hint::black_box(bytes);
    consumer.close().await?;
    Ok(figures)
}

pub(super) async fn open(
    side: &Side,
    leases: Arc<dyn LeaseStore>,
    wire: Wire,
    runtime: &aqueduct_core::Runtime,
) -> Result<Arc<dyn BatchConsumer>> {
    let resource = side.resource(&[wire.encoding(), POLL])?;
    let Source::Log(log) = resource.source(runtime).await? else {
        return Err(resource.does_not_offer("log"));
    };
    let mut options = GroupOptions::new(GroupName::new("bench"));
    // As many records in one response as the SDK's loop takes, 10,000; the group decodes its
    // usual number of them at a time.
    options.fetch_bytes = 10 << 20;
    Group::open(log, leases, options, runtime).await
}

/// Polls again as soon as the last response was taken, as the SDK's loop does.
const POLL: (&str, &str) = ("poll_interval", "0s");

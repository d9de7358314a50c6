use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchConsumer, Error, ErrorKind, Event, GroupName, Options, Result, Runtime,
    Source, StreamSpec, Url,
};
use aqueduct_group::{Group, GroupOptions, request_cost};
use aqueduct_memory::MemoryBackend;
use aqueduct_object_store::ObjectStoreBackend;
use aqueduct_object_store::object_store::memory::InMemory;
use aqueduct_runtime::Simulation;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::Contestant;
use crate::aims::{Aim, Bound, Round};
use crate::measure::{Figures, Meter};
use crate::sqlite::invalid_url;

const PARTITIONS: usize = 4;
const SLOW: u64 = 200;
const FAST: u64 = 4_000;

/// The time that is counted, in seconds.
const COUNTED: u64 = 60;

/// The price of 10,000 writes or listings of block blobs, in US dollars: hot tier, LRS, East US, list price of
/// January 2025 (<https://azure.microsoft.com/pricing/details/storage/blobs/>). `AQUEDUCT_BENCH_BLOB_WRITES` is
/// another price.
const PER_10_000: f64 = 0.05;

const WRITES: &str = "writes_per_partition_and_minute";
const RENEWALS: &str = "renewals_per_partition_and_minute";
const REQUESTS: &str = "requests_per_partition_and_month";
const MONEY: &str = "usd_per_partition_and_month";

const OWN: &str = "az://shop/leases";
const PROCESSOR: &str = "az://shop/leases?event_hubs=shop.servicebus.windows.net";

/// A group of one member on 4 partitions whose leases are in an object store, in virtual time, at 200 and at
/// 4,000 events a second: its requests for leases, and what Azure takes for them. `own`: Aqueduct's layout.
/// `processor`: that of Microsoft's event processors, whose checkpoint is a second blob.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("own, 200/s", |_, _| counted(OWN, SLOW)),
    contestant("own, 4000/s", |_, _| counted(OWN, FAST)),
    contestant("processor, 200/s", |_, _| counted(PROCESSOR, SLOW)),
    contestant("processor, 4000/s", |_, _| counted(PROCESSOR, FAST)),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "writes to renewals at 200 events a second",
        bound: Bound::AtMost(1.1),
        value: |round| to_renewals(round, "own, 200/s"),
    },
    Aim {
        what: "writes to renewals at 4,000 events a second",
        bound: Bound::AtMost(1.1),
        value: |round| to_renewals(round, "own, 4000/s"),
    },
    Aim {
        what: "writes to renewals at 4,000 events a second, Microsoft's layout",
        bound: Bound::AtMost(1.1),
        value: |round| to_renewals(round, "processor, 4000/s"),
    },
];

const fn contestant(name: &'static str, run: fn(u64, usize) -> Result<Figures>) -> Contestant {
    Contestant {
        name,
        direction: None,
        batch: 500,
        run,
    }
}

fn to_renewals(round: &Round<'_>, name: &str) -> Option<f64> {
    Some(round.extra(name, WRITES)? / round.extra(name, RENEWALS)?)
}

fn counted(url: &'static str, rate: u64) -> Result<Figures> {
    let price = match std::env::var("AQUEDUCT_BENCH_BLOB_WRITES") {
        Ok(text) => text.parse().map_err(|_| {
            Error::config(
                "AQUEDUCT_BENCH_BLOB_WRITES: expected the price of 10,000 writes, such as 0.05",
            )
        })?,
        Err(_) => PER_10_000,
    };
    let requests = Requests::default();
    let meter = Meter::begin();
    let simulation = Simulation::new(7).with_horizon(Duration::from_secs(24 * 3600));
    let work = minute(simulation.runtime(), url, rate, requests.clone());
    let run = || simulation.block_on(work);
    let done = metrics::with_local_recorder(&requests, run);
    done.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))??;
    let figures = meter.end(rate * COUNTED);
    let options = GroupOptions::new(GroupName::new("billing"));
    // Of all partitions in an hour.
    let renewals = request_cost(&options, PARTITIONS, 1).busy_writes / 60.0 / PARTITIONS as f64;
    let per_minute = |operation| requests.of(operation) as f64 / PARTITIONS as f64;
    let writes = per_minute("put");
    let month = (writes + per_minute("list")) * 60.0 * 24.0 * 30.0;
    Ok(figures
        .with(WRITES, writes)
        .with(RENEWALS, renewals)
        .with(REQUESTS, month)
        .with(MONEY, month / 10_000.0 * price))
}

/// Runs a group for a while, and counts its requests for a minute.
async fn minute(runtime: Runtime, url: &str, rate: u64, requests: Requests) -> Result<()> {
    let memory = MemoryBackend::new();
    let options = Options::new("streams.orders").with("max_events", "10000000");
    let stream = memory.parse("orders", &parse("memory:")?, options)?;
    let spec = StreamSpec::with_partitions(PARTITIONS as u32);
    stream.admin(&runtime).await?.create(&spec).await?;
    let Source::Log(log) = stream.source(&runtime).await? else {
        return Err(stream.does_not_offer("log"));
    };
    let store = ObjectStoreBackend::with_store(Arc::new(InMemory::new()));
    let store = store.parse("leases", &parse(url)?, Options::new("leases"))?;
    let leases = store.leases(&runtime).await?;
    let options = GroupOptions::new(GroupName::new("billing"));
    let consumer = Group::open(log, leases, options, &runtime).await?;
    let handling = runtime.spawn(handle(consumer.clone()));
    let producer = stream.producer(&runtime).await?;
    let send = async |seconds: u64| {
        for second in 0..seconds {
            runtime.sleep(Duration::from_secs(1)).await;
            let event = |at| {
                Event::new("t")
                    .with_source("/bench")
                    .with_key(format!("{second}-{at}"))
            };
            let events: Vec<Event> = (0..rate).map(event).collect();
            producer.send_batch(&events).await.into_result()?;
        }
        Ok::<(), Error>(())
    };
    // The first blobs are known once every partition is assigned and committed.
    while consumer.status().partitions.len() < PARTITIONS {
        send(1).await?;
    }
    send(12).await?;
    requests.reset();
    send(COUNTED).await?;
    let counted = requests.clone_counts();
    consumer.close().await?;
    requests.replace(counted);
    handling
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?
}

async fn handle(consumer: Arc<dyn BatchConsumer>) -> Result<()> {
    loop {
        let received = consumer.receive_batch(500).await?;
        if received.is_empty() {
            return Ok(());
        }
        for delivery in received {
            delivery.ack().await?;
        }
    }
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(invalid_url)
}

/// Counts the requests of the store by operation, from its metric.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<BTreeMap<String, Arc<Count>>>>);

#[derive(Default)]
struct Count(AtomicU64);

impl Requests {
    fn of(&self, operation: &str) -> u64 {
        self.clone_counts()
            .get(operation)
            .copied()
            .unwrap_or_default()
    }

    fn clone_counts(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of =
            |(name, count): (&String, &Arc<Count>)| (name.clone(), count.0.load(Ordering::Relaxed));
        counts.iter().map(of).collect()
    }

    fn reset(&self) {
        self.replace(BTreeMap::new());
    }

    fn replace(&self, with: BTreeMap<String, u64>) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, count) in &*counts {
            let value = with.get(name).copied().unwrap_or_default();
            count.0.store(value, Ordering::Relaxed);
        }
    }
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Recorder for Requests {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let operation = key.labels().find(|label| label.key() == "operation");
        match operation {
            Some(operation) if key.name() == "aqueduct_object_store_requests_total" => {
                let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let count = counts.entry(operation.value().to_owned()).or_default();
                Counter::from_arc(count.clone())
            }
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aqueduct_core::{Backend as _, Error, ErrorKind, LeaseStore, Result, Url};
use aqueduct_dynamodb::DynamoDbBackend;
use aqueduct_producer::Producer;

use super::client::{RAW, Side, Traffic, Wire, create_stream, event, joined};
use super::kinesis_consume::{Filled, RECEIVE, SHARDS, consume, memory_leases, open};
use super::server::{Kind, Server};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter, median};
use crate::memory::block_on;
use crate::sqlite::invalid_url;

/// How long a paced consumer runs; with the default commit interval of 5 s, two commits.
const SECONDS: u64 = 11;
const SLOW: u64 = 200;
const FAST: u64 = 4_000;
const TICK: Duration = Duration::from_millis(50);

/// How often everything is consumed with leases in DynamoDB and in memory, alternating: the machine's
/// other load changes by more than the difference.
const PAIRS: usize = 5;

/// The median of the pairs.
const TO_MEMORY: &str = "rate_to_memory";
/// The time from opening the group to its first event.
const JOINING: &str = "seconds_to_first_event";
const WRITES: &str = "lease_writes_per_partition_and_minute";

/// `memory` and `dynamodb`: stored events are consumed at full speed, with leases there.
/// `dynamodb-slow` and `-fast`: 200 and 4,000 events arrive per second, with leases in DynamoDB.
///
/// Unless the environment names an endpoint, DynamoDB runs in this process on the consumer's own
/// thread, and its work counts as the consumer's. Kinesis runs in a separate process.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("memory", |events, _| {
        block_on(async {
            let filled = Filled::with(events, Wire::Data).await?;
            in_memory(&filled, events).await
        })
    }),
    contestant("dynamodb", |events, _| block_on(in_pairs(events))),
    contestant("dynamodb-slow", |events, _| paced(events, SLOW)),
    contestant("dynamodb-fast", |events, _| paced(events, FAST)),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "rate with leases in DynamoDB to leases in memory",
        bound: Bound::AtLeast(0.95),
        value: |round| round.extra("dynamodb", TO_MEMORY),
    },
    Aim {
        what: "lease writes at 4,000 events a second to those at 200",
        bound: Bound::AtMost(1.1),
        value: |round| {
            let slow = round.extra("dynamodb-slow", WRITES)?;
            Some(round.extra("dynamodb-fast", WRITES)? / slow)
        },
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

async fn in_pairs(events: u64) -> Result<Figures> {
    let filled = Filled::with(events, Wire::Data).await?;
    let (mut ratios, mut all) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Alternate the order, so that neither is always the first.
        let (durable, memory) = if pair % 2 == 0 {
            let memory = in_memory(&filled, events).await?;
            (in_dynamodb(&filled, events).await?, memory)
        } else {
            let durable = in_dynamodb(&filled, events).await?;
            (durable, in_memory(&filled, events).await?)
        };
        ratios.push(durable.events_per_second() / memory.events_per_second());
        all.push(durable);
    }
    let figures = Figures::median(all)
        .ok_or_else(|| Error::new(ErrorKind::Internal, "nothing was measured"))?;
    let ratio = median(ratios.into_iter()).unwrap_or_default();
    Ok(figures.with(TO_MEMORY, ratio))
}

async fn in_memory(filled: &Filled, events: u64) -> Result<Figures> {
    full_speed(&filled.side(), memory_leases().await?, events, || {}).await
}

async fn in_dynamodb(filled: &Filled, events: u64) -> Result<Figures> {
    let (leases, traffic) = table().await?;
    let before = Cell::new(0);
    let begun = || before.set(traffic.writes());
    let figures = full_speed(&filled.side(), leases, events, begun).await?;
    let seconds = events as f64 / figures.events_per_second();
    Ok(per_minute(
        figures,
        traffic.writes() - before.get(),
        seconds,
    ))
}

/// Consumes everything. The rate counts from the first event; the time from opening until then is a
/// separate figure.
async fn full_speed(
    side: &Side,
    leases: Arc<dyn LeaseStore>,
    events: u64,
    begun: impl FnOnce(),
) -> Result<Figures> {
    let start = Instant::now();
    let joining = Cell::new(Duration::ZERO);
    let figures = consume(side, leases, events, Wire::Data, || {
        joining.set(start.elapsed());
        begun();
    });
    let figures = figures.await?;
    let joining = joining.get().as_secs_f64();
    let seconds = events as f64 / figures.events_per_second();
    let rate = events as f64 / (seconds - joining);
    Ok(figures.at_rate(rate).with(JOINING, joining))
}

fn per_minute(figures: Figures, writes: u64, seconds: f64) -> Figures {
    figures.with(WRITES, writes as f64 * 60.0 / f64::from(SHARDS) / seconds)
}

/// Returns a table in this process, or at the endpoint that the environment names.
async fn table() -> Result<(Arc<dyn LeaseStore>, Traffic)> {
    let (http, endpoint) = match std::env::var("AQUEDUCT_BENCH_DYNAMODB") {
        Ok(endpoint) => (
            aws_smithy_http_client::Builder::new().build_http(),
            Some(endpoint),
        ),
        Err(_) => (aqueduct_emulators::dynamodb(), None),
    };
    let side = Side::over(endpoint.as_deref().unwrap_or_default(), http);
    static MADE: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let url = Url::parse(&format!("dynamodb://bench-{process}-{number}"));
    let url = url.map_err(invalid_url)?;
    let options = side.options("leases.bench");
    let resource = DynamoDbBackend::with(side.aws.clone()).parse("bench", &url, options)?;
    let leases = resource.leases(&aqueduct_runtime::tokio()).await?;
    Ok((leases, side.traffic))
}

/// Consumes events that arrive at that rate, for some seconds, at most `events`.
fn paced(events: u64, rate: u64) -> Result<Figures> {
    block_on(async {
        let server = Server::start(Kind::Kinesis)?;
        let side = Side::new(&server.endpoint);
        create_stream(&side.kinesis().await?, SHARDS).await?;
        let runtime = aqueduct_runtime::tokio();
        let engine = side.engine(&[RAW], &runtime).await?;
        let (leases, traffic) = table().await?;
        let consumer = open(&side, leases, Wire::Data, &runtime).await?;
        let events = events.min(SECONDS * rate);
        let publisher = tokio::spawn(async move { publish(&engine, events, rate).await });
        let mut left = events;
        let mut started = None;
        while left > 0 {
            let deliveries = consumer.receive_batch(RECEIVE).await?;
            started.get_or_insert_with(|| (Meter::begin(), traffic.writes()));
            left = left.saturating_sub(deliveries.len() as u64);
            for delivery in deliveries {
                delivery.ack().await?;
            }
        }
        joined(publisher.await)?;
        let (meter, before) = started.unwrap_or_else(|| (Meter::begin(), 0));
        let seconds = meter.seconds();
        let writes = traffic.writes() - before;
        let figures = meter.end(events);
        consumer.close().await?;
        Ok(per_minute(figures, writes, seconds))
    })
}

/// An even stream of events: a few every 50 ms.
async fn publish(engine: &Producer, events: u64, rate: u64) -> Result<()> {
    let some = (rate as f64 * TICK.as_secs_f64()) as u64;
    let mut ticks = tokio::time::interval(TICK);
    for first in (0..events).step_by(some.max(1) as usize) {
        ticks.tick().await;
        let numbers = first..events.min(first + some);
        let batch = numbers.map(event).collect::<Result<Vec<_>>>()?;
        engine.send_all(batch).await?;
    }
    engine.close().await
}

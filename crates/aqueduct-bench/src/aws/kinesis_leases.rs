use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Backend as _, LeaseStore, Result, Url};
use aqueduct_dynamodb::DynamoDbBackend;
use aqueduct_layers::dispatch::Dispatch;

use super::client::{RAW, Side, Traffic, Wire, create_stream, event, joined};
use super::kinesis_consume::{Filled, RECEIVE, SHARDS, consume, memory_leases, open};
use super::server::{Kind, Server};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter};
use crate::memory::block_on;
use crate::sqlite::invalid_url;

/// How long a paced consumer runs; with the default commit interval of 5 s, two commits.
const SECONDS: u64 = 11;
const SLOW: u64 = 200;
const FAST: u64 = 4_000;
const TICK: Duration = Duration::from_millis(50);

const WRITES: &str = "lease_writes_per_partition_and_minute";

/// `memory` and `dynamodb`: what is stored is consumed as fast as it goes, with leases there.
/// `dynamodb-slow` and `-fast`: 200 and 4,000 events a second come, with leases in DynamoDB.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("memory", |events, _| {
        block_on(async {
            let filled = Filled::with(events, Wire::Data).await?;
            let leases = memory_leases().await?;
            consume(&filled.side(), leases, events, Wire::Data, || {}).await
        })
    }),
    contestant("dynamodb", |events, _| {
        block_on(async {
            let filled = Filled::with(events, Wire::Data).await?;
            let (leases, traffic) = table().await?;
            let before = Cell::new(0);
            let begun = || before.set(traffic.writes());
            let figures = consume(&filled.side(), leases, events, Wire::Data, begun).await?;
            let seconds = events as f64 / figures.events_per_second();
            Ok(per_minute(
                figures,
                traffic.writes() - before.get(),
                seconds,
            ))
        })
    }),
    contestant("dynamodb-slow", |events, _| paced(events, SLOW)),
    contestant("dynamodb-fast", |events, _| paced(events, FAST)),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "rate with leases in DynamoDB to leases in memory",
        bound: Bound::AtLeast(0.95),
        value: |round| round.rate_ratio("dynamodb", "memory"),
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

fn per_minute(figures: Figures, writes: u64, seconds: f64) -> Figures {
    figures.with(WRITES, writes as f64 * 60.0 / f64::from(SHARDS) / seconds)
}

/// A table in process, or at the endpoint that the environment names.
async fn table() -> Result<(Arc<dyn LeaseStore>, Traffic)> {
    let (http, endpoint) = match std::env::var("AQUEDUCT_BENCH_DYNAMODB") {
        Ok(endpoint) => (
            aws_smithy_http_client::Builder::new().build_http(),
            Some(endpoint),
        ),
        Err(_) => (aqueduct_emulators::dynamodb(), None),
    };
    let side = Side::over(endpoint.as_deref().unwrap_or_default(), http);
    let url = Url::parse(&format!("dynamodb://bench-{}", std::process::id()));
    let url = url.map_err(invalid_url)?;
    let options = side.options("leases.bench");
    let resource = DynamoDbBackend::with(side.aws.clone()).parse("bench", &url, options)?;
    let leases = resource.leases(&aqueduct_runtime::tokio()).await?;
    Ok((leases, side.traffic))
}

/// Consumes what comes at that rate, for some seconds, at most `events`.
fn paced(events: u64, rate: u64) -> Result<Figures> {
    block_on(async {
        let server = Server::start(Kind::Kinesis)?;
        let side = Side::new(&server.endpoint);
        create_stream(&side.kinesis().await?, SHARDS).await?;
        let runtime = aqueduct_runtime::tokio();
        let dispatch = side.dispatch(&[RAW], 500, &runtime).await?;
        let (leases, traffic) = table().await?;
        let consumer = open(&side, leases, Wire::Data, &runtime).await?;
        let events = events.min(SECONDS * rate);
        let publisher = tokio::spawn(async move { publish(&dispatch, events, rate).await });
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
async fn publish(dispatch: &Dispatch, events: u64, rate: u64) -> Result<()> {
    let some = (rate as f64 * TICK.as_secs_f64()) as u64;
    let mut ticks = tokio::time::interval(TICK);
    for first in (0..events).step_by(some.max(1) as usize) {
        ticks.tick().await;
        let numbers = first..events.min(first + some);
        let batch = numbers.map(event).collect::<Result<Vec<_>>>()?;
        dispatch.send_all(batch).await?;
    }
    dispatch.close().await
}

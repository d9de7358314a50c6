use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aqueduct_core::{
    GroupName, OpenPartition, PartitionId, PartitionedLog, ReadFrom, Result, Source,
};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use super::client::{
    FULL, JSON, OFF, ON, RAW, STREAM, Side, Wire, create_stream, event, iterator, joined, sdk,
    shards,
};
use super::server::{Kind, Server};
use crate::Contestant;
use crate::aims::{Aim, Bound, Round};
use crate::measure::{Figures, Meter, held};
use crate::memory::block_on;
use crate::payload::Reading;

/// The write limit of a shard per second, in the service and in the emulator.
const SHARD_BYTES: f64 = (1u64 << 20) as f64;
const SHARD_RECORDS: f64 = 1_000.0;
/// The number of senders; each has its own keys.
const SENDERS: u64 = 8;
const IN_FLIGHT: usize = 4;
/// The time not measured at the start: the limit lets a second's worth through at once.
const SKIP: f64 = 1.0;
const EVERY: Duration = Duration::from_millis(100);
/// How long the SDK's contestant waits before it resends throttled records.
const PAUSE: Duration = Duration::from_millis(100);

const SENT_TWICE: &str = "records_sent_again_per_record";
const BYTES: &str = "encoded_bytes_per_event";
const LOST: &str = "lost";
const DISORDERED: &str = "out_of_order";
const HELD: &str = "peak_heap_mib";

/// One shard with its limits, for as many events as it accepts in some seconds.
///
/// `sdk`: PutRecords with 500 records, 4 in flight; throttled records are resent after 100 ms. The
/// others: the producer engine, 8 tasks that each keep 500 events in flight by `enqueue`. `single`:
/// without aggregation. `raw`: only the data on the wire, otherwise CloudEvents in JSON.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("sdk-raw", |events, batch| {
        with_sdk(events, batch, Wire::Data)
    }),
    contestant("sdk-cloudevents", |events, batch| {
        with_sdk(events, batch, Wire::CloudEvents)
    }),
    contestant("single", |events, batch| {
        with_engine(events, batch, Wire::CloudEvents, &[OFF, JSON])
    }),
    contestant("aggregated-raw", |events, batch| {
        with_engine(events, batch, Wire::Data, &[ON, RAW])
    }),
    contestant("aggregated", |events, batch| {
        with_engine(events, batch, Wire::CloudEvents, &[JSON])
    }),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "rate of aggregated CloudEvents to the lower of 8 x PutRecords and the byte limit",
        bound: Bound::AtLeast(0.9),
        value: |round| {
            let bytes = round.extra("aggregated", BYTES)?;
            let eight = 8.0 * round.rate("sdk-cloudevents")?;
            Some(round.rate("aggregated")? / eight.min(SHARD_BYTES / bytes))
        },
    },
    Aim {
        what: "rate of aggregated raw data to PutRecords of the same data",
        bound: Bound::AtLeast(8.0),
        value: |round| round.rate_ratio("aggregated-raw", "sdk-raw"),
    },
    Aim {
        what: "share of the records that were sent again, aggregated",
        bound: Bound::AtMost(0.05),
        value: |round| worst(round, &["aggregated", "aggregated-raw"], SENT_TWICE),
    },
    Aim {
        what: "share of the records that were sent again, not aggregated",
        bound: Bound::AtMost(0.05),
        value: |round| round.extra("single", SENT_TWICE),
    },
    Aim {
        what: "rate without aggregation to what the shard takes",
        bound: Bound::AtLeast(0.9),
        value: |round| Some(round.rate("single")? / SHARD_RECORDS),
    },
    Aim {
        what: "events lost through the engine",
        bound: Bound::AtMost(0.0),
        value: |round| worst(round, OURS, LOST),
    },
    Aim {
        what: "events behind a later one of their key, through the engine",
        bound: Bound::AtMost(0.0),
        value: |round| worst(round, OURS, DISORDERED),
    },
    Aim {
        what: "MiB on the heap above the start, at the most, through the engine",
        bound: Bound::AtMost(64.0),
        value: |round| worst(round, OURS, HELD),
    },
];

const OURS: &[&str] = &["single", "aggregated", "aggregated-raw"];

const fn contestant(name: &'static str, run: fn(u64, usize) -> Result<Figures>) -> Contestant {
    Contestant {
        name,
        direction: None,
        batch: FULL,
        run,
    }
}

fn worst(round: &Round<'_>, names: &[&str], figure: &str) -> Option<f64> {
    let all = names.iter().filter_map(|name| round.extra(name, figure));
    all.max_by(f64::total_cmp)
}

/// The state shared by the senders of one contestant.
struct Run {
    side: Side,
    _server: Server,
    stored: AtomicU64,
    over: AtomicBool,
    seconds: f64,
}

impl Run {
    async fn begin(events: u64) -> Result<Arc<Self>> {
        let server = Server::start(Kind::KinesisLimited)?;
        let side = Side::new(&server.endpoint);
        create_stream(&side.kinesis().await?, 1).await?;
        side.traffic.count_records();
        Ok(Arc::new(Self {
            side,
            _server: server,
            stored: AtomicU64::new(0),
            over: AtomicBool::new(false),
            seconds: events as f64 / SHARD_RECORDS,
        }))
    }

    /// Returns the numbers of one sender, in batches, until the time is over.
    fn next(&self, sender: u64, first: &mut u64, batch: usize) -> Option<Vec<u64>> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        // 1,000 keys are split among 8 senders, so that no two senders share a key.
        let numbers = (*first..*first + batch as u64).map(|at| at * SENDERS + sender);
        *first += batch as u64;
        Some(numbers.collect())
    }

    fn stored(&self, events: usize) {
        self.stored.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Samples the progress of the senders until the time is over.
    async fn watch(&self, meter: &Meter) -> Watched {
        let before = held();
        let mut samples = Vec::new();
        let mut peak = before;
        let end = self.seconds.max(2.0 * SKIP);
        loop {
            tokio::time::sleep(EVERY).await;
            let at = meter.seconds();
            peak = peak.max(held());
            samples.push((at, self.stored.load(Ordering::Relaxed) as f64));
            if at >= end {
                break;
            }
        }
        self.over.store(true, Ordering::Relaxed);
        samples.retain(|(at, _)| *at >= SKIP);
        Watched {
            rate: slope(&samples),
            peak: peak - before,
        }
    }
}

struct Watched {
    rate: f64,
    peak: f64,
}

/// Returns the slope of the least-squares line through the points: it does not depend on where within
/// a second of the service the measurement begins and ends.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let middle = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (middle(|it| it.0), middle(|it| it.1));
    let rise: f64 = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum();
    let run: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
    rise / run
}

fn with_sdk(events: u64, batch: usize, wire: Wire) -> Result<Figures> {
    block_on(async {
        let run = Run::begin(events).await?;
        let client = run.side.kinesis().await?;
        let meter = Meter::begin();
        let tasks: Vec<_> = (0..IN_FLIGHT as u64)
            .map(|sender| tokio::spawn(put(run.clone(), client.clone(), sender, batch, wire)))
            .collect();
        let watched = run.watch(&meter).await;
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.extend(joined(task.await)?);
        }
        let figures = meter.end(numbers.len() as u64);
        judge(&run, figures, watched, numbers, wire).await
    })
}

/// Sends batches until the time is over and resends throttled records; returns what is stored.
async fn put(
    run: Arc<Run>,
    client: Client,
    sender: u64,
    batch: usize,
    wire: Wire,
) -> Result<Vec<u64>> {
    let mut first = 0;
    let mut done = Vec::new();
    while let Some(numbers) = run.next(sender, &mut first, batch) {
        let records = numbers.iter().map(|number| wire.record(*number));
        let mut records: Vec<(u64, PutRecordsRequestEntry)> = numbers
            .iter()
            .copied()
            .zip(records.collect::<Result<Vec<_>>>()?)
            .collect();
        while !records.is_empty() {
            let answer = client
                .put_records()
                .stream_name(STREAM)
                .set_records(Some(records.iter().map(|it| it.1.clone()).collect()))
                .send()
                .await
                .map_err(|e| sdk("PutRecords", e))?;
            let before = records.len();
            let mut outcomes = answer.records().iter();
            records.retain(|(number, _)| {
                let failed = outcomes.next().is_none_or(|it| it.error_code().is_some());
                if !failed {
                    done.push(*number);
                }
                failed
            });
            run.stored(before - records.len());
            if run.over.load(Ordering::Relaxed) {
                return Ok(done);
            }
            if !records.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Ok(done)
}

fn with_engine(events: u64, batch: usize, wire: Wire, set: &[(&str, &str)]) -> Result<Figures> {
    block_on(async {
        let run = Run::begin(events).await?;
        let runtime = aqueduct_runtime::tokio();
        let engine = run.side.engine(set, &runtime).await?;
        let meter = Meter::begin();
        let tasks: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (run, engine) = (run.clone(), engine.clone());
                tokio::spawn(async move {
                    // One by one, so that events are counted as soon as they are stored.
                    let mut first = 0;
                    let mut done = Vec::new();
                    let mut pending = VecDeque::with_capacity(batch);
                    loop {
                        while let Some(number) = (pending.len() < batch)
                            .then(|| run.next(sender, &mut first, 1))
                            .flatten()
                            .and_then(|numbers| numbers.first().copied())
                        {
                            pending.push_back((number, engine.enqueue(event(number)?).await?));
                        }
                        let Some((number, outcome)) = pending.pop_front() else {
                            break;
                        };
                        outcome.await?;
                        run.stored(1);
                        done.push(number);
                    }
                    Ok(done)
                })
            })
            .collect();
        let watched = run.watch(&meter).await;
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.extend(joined::<Vec<u64>>(task.await)?);
        }
        let figures = meter.end(numbers.len() as u64);
        engine.close().await?;
        judge(&run, figures, watched, numbers, wire).await
    })
}

/// Reads everything back and counts lost and misplaced events.
async fn judge(
    run: &Run,
    figures: Figures,
    watched: Watched,
    sent: Vec<u64>,
    wire: Wire,
) -> Result<Figures> {
    let attempts = run.side.traffic.records();
    let client = run.side.kinesis().await?;
    let (records, bytes) = stored(&client).await?;
    let read = read_back(&run.side, wire, sent.len()).await?;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut disordered = 0;
    for number in &read {
        // Only the first occurrence of each counts.
        if seen.insert(*number) {
            let newest = last.entry(Reading::new(*number).key().to_owned());
            let newest = newest.or_insert(*number);
            disordered += u64::from(*number < *newest);
            *newest = (*newest).max(*number);
        }
    }
    let lost = sent.iter().filter(|number| !seen.contains(number)).count();
    Ok(figures
        .at_rate(watched.rate)
        .with(BYTES, bytes as f64 / read.len() as f64)
        .with(
            SENT_TWICE,
            (attempts as f64 - records as f64) / records as f64,
        )
        .with(LOST, lost as f64)
        .with("stored_twice", (read.len() - seen.len()) as f64)
        .with(DISORDERED, disordered as f64)
        .with(HELD, watched.peak / SHARD_BYTES))
}

/// Returns the number of records in the shard, and the bytes of their data.
async fn stored(client: &Client) -> Result<(u64, u64)> {
    let (mut records, mut bytes) = (0, 0);
    for shard in shards(client).await? {
        let mut next = iterator(client, &shard).await?;
        while let Some(at) = next {
            let answer = client.get_records().shard_iterator(at).send().await;
            let answer = answer.map_err(|e| sdk("GetRecords", e))?;
            let some = answer.records();
            records += some.len() as u64;
            bytes += some
                .iter()
                .map(|record| record.data().as_ref().len() as u64)
                .sum::<u64>();
            next = answer
                .next_shard_iterator
                .filter(|_| !answer.records.is_empty());
        }
    }
    Ok((records, bytes))
}

/// Returns the numbers of all events in the shard, in order.
async fn read_back(side: &Side, wire: Wire, least: usize) -> Result<Vec<u64>> {
    let runtime = aqueduct_runtime::tokio();
    let resource = side.resource(&[wire.encoding(), ("poll_interval", "0s")])?;
    let Source::Log(log) = resource.source(&runtime).await? else {
        return Err(resource.does_not_offer("log"));
    };
    let mut numbers = Vec::with_capacity(least);
    for partition in log.partitions().await? {
        numbers.extend(read_partition(&log, partition.id).await?);
    }
    Ok(numbers)
}

async fn read_partition(log: &Arc<dyn PartitionedLog>, id: PartitionId) -> Result<Vec<u64>> {
    let group = GroupName::new("bench");
    let mut reader = log
        .open(&OpenPartition::new(group, id, ReadFrom::Earliest))
        .await?;
    let mut numbers = Vec::new();
    loop {
        let batch = reader.read(10_000).await?;
        if batch.records.is_empty() {
            return Ok(numbers);
        }
        for record in batch.records {
            numbers.push(record.event.decode_json::<Reading>()?.number());
        }
    }
}

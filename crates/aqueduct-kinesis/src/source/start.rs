use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Checkpoint, Error, ErrorKind, PartitionId, Position, ReadFrom, ResolvedStart, Result, Start,
    Timestamp,
};
use futures::{StreamExt as _, TryStreamExt as _};

use super::feed::Link;
use super::log::Source;
use super::metrics::Metrics;
use super::pace::Pace;
use super::place::Place;
use super::records::Raw;
use super::unpack::sequence;
use crate::aggregation;
use crate::shards::Shard;

/// How far back the last records are searched. The service stamps records by the clocks of several
/// machines, which differ by less than this.
const LOOK_BACK: Duration = Duration::from_secs(5);

/// The number of shards resolved concurrently.
const SIDE_BY_SIDE: usize = 16;

/// The number of throttled requests in a row after which resolving fails.
const REFUSALS: u32 = 6;

/// Resolves a start to fixed places.
///
/// The latest place of a shard is after the last record of the last seconds, which is found by reading
/// them. If there is none, it is the time at which reading them began: no record was stored between
/// that time and now, and later ones get a later time.
pub(super) async fn resolve(source: &Arc<Source>, start: &Start) -> Result<ResolvedStart> {
    let shards = source.list().await?;
    let at = source.time.now();
    let everywhere = |from: ReadFrom| {
        let place = |shard: &Shard| (shard.id.clone(), Checkpoint::Start(from));
        shards.iter().map(place).collect()
    };
    let partitions = match start {
        Start::Earliest => everywhere(ReadFrom::Earliest),
        Start::Time(time) => everywhere(ReadFrom::Time(*time)),
        Start::Latest => {
            let latest = |shard| latest(source.clone(), shard, at);
            futures::stream::iter(shards)
                .map(latest)
                .buffered(SIDE_BY_SIDE)
                .try_collect()
                .await?
        }
        Start::Positions(named) => named
            .iter()
            .map(|(id, from)| match shards.iter().any(|it| it.id == *id) {
                true => Ok((id.clone(), Checkpoint::Start(*from))),
                false => {
                    let stream = &source.kinesis.shown;
                    let message = format!("stream {stream} has no shard {id}");
                    Err(Error::new(ErrorKind::NotFound, message))
                }
            })
            .collect::<Result<_>>()?,
    };
    Ok(ResolvedStart { at, partitions })
}

async fn latest(
    source: Arc<Source>,
    shard: Shard,
    at: Timestamp,
) -> Result<(PartitionId, Checkpoint)> {
    if !shard.is_open() {
        return Ok((shard.id, Checkpoint::End));
    }
    let since = at.saturating_sub(LOOK_BACK);
    let place = match newest_since(&source, &shard, since).await? {
        Some(newest) => ReadFrom::After(newest),
        None => ReadFrom::Time(since),
    };
    Ok((shard.id, Checkpoint::Start(place)))
}

/// Returns the last position of a shard, if its record was stored within the last seconds.
pub(super) async fn newest(source: &Arc<Source>, shard: &Shard) -> Result<Option<Position>> {
    let since = source.time.now().saturating_sub(LOOK_BACK);
    newest_since(source, shard, since).await
}

/// Reads from `since` to the tip, or to the first record stored after the call, and returns the last
/// position.
async fn newest_since(
    source: &Arc<Source>,
    shard: &Shard,
    since: Timestamp,
) -> Result<Option<Position>> {
    let link = Link {
        source: source.clone(),
        shard: shard.clone(),
        metrics: Metrics::new(&source.kinesis, &shard.id),
    };
    let called = source.time.now();
    let mut pace = Pace::new(&source.runtime, source.reading.poll_interval);
    let mut place = Place::Time(since);
    let mut iterator: Option<String> = None;
    let mut newest: Option<Newest> = None;
    loop {
        source.runtime.sleep_until(pace.due()).await;
        let sent = source.runtime.now();
        let answer = async {
            let iterator = match iterator.take() {
                Some(iterator) => iterator,
                None => link.iterator(&place).await?,
            };
            link.records(iterator, 10_000).await
        };
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(error) if error.is(ErrorKind::Throttled) && pace.times_throttled() < REFUSALS => {
                pace.throttled();
                continue;
            }
            Err(error) => return Err(error),
        };
        let at_tip = answer.behind == Some(Duration::ZERO);
        let mut records = answer.records;
        let empty = records.is_empty();
        pace.answered(sent, records.bytes(), at_tip);
        iterator = answer.next;
        if let Some(last) = records.take_last() {
            let last = last?;
            newest = Some(Newest::of(&last)?);
            place = Place::Sequence(last.sequence.into_owned());
        }
        let passed = newest
            .and_then(|last| last.stored_at)
            .is_some_and(|stored| stored > called);
        if passed || iterator.is_none() || (empty && at_tip) {
            return Ok(newest.map(|last| last.position));
        }
    }
}

/// The last event of a record, and when it was stored.
#[derive(Clone, Copy)]
struct Newest {
    position: Position,
    stored_at: Option<Timestamp>,
}

impl Newest {
    fn of(record: &Raw<'_>) -> Result<Self> {
        let inner = aggregation::split(&record.data).unwrap_or_default();
        let sub = inner.last().map_or(0, |last| last.index);
        Ok(Self {
            position: sequence(&record.sequence)?.with_sub(sub),
            stored_at: record.stored_at,
        })
    }
}

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Error, ErrorKind, PartitionId, Position, ReadFrom, ResolvedStart, Result, Start, Timestamp,
    Watermark,
};
use aws_sdk_kinesis::types::Record;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use super::feed::Link;
use super::log::{Source, timestamp};
use super::metrics::Metrics;
use super::pace::Pace;
use super::place::Place;
use super::unpack::sequence;
use crate::aggregation;
use crate::shards::Shard;

/// How far back the last records are looked for. The service stamps records by the clocks of
/// several machines; those differ by less.
const LOOK_BACK: Duration = Duration::from_secs(5);

/// Shards that are looked at side by side.
const SIDE_BY_SIDE: usize = 16;

/// Refusals in a row before resolving is given up.
const REFUSALS: u32 = 6;

/// Turns a start into places that do not move.
///
/// The latest place of a shard is behind the last record of the last seconds, found by reading
/// them. Where there is none it is the time at which reading them began: no record lies between
/// it and now, and each one to come is stamped later.
pub(super) async fn resolve(source: &Arc<Source>, start: &Start) -> Result<ResolvedStart> {
    let shards = source.list().await?;
    // A stream that was just made is never younger than the groups on it.
    let created = source.created().await?;
    let at = created.map_or(source.time.now(), |created| created.max(source.time.now()));
    let everywhere = |from: ReadFrom| {
        let place = |shard: &Shard| (shard.id.clone(), Watermark::Start(from));
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
                true => Ok((id.clone(), Watermark::Start(*from))),
                false => {
                    let stream = &source.kinesis.shown;
                    let message = format!("stream {stream}: there is no shard {id}");
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
) -> Result<(PartitionId, Watermark)> {
    if !shard.is_open() {
        return Ok((shard.id, Watermark::End));
    }
    let since = at.saturating_sub(LOOK_BACK);
    let place = match newest_since(&source, &shard, since).await? {
        Some(newest) => ReadFrom::After(newest),
        None => ReadFrom::Time(since),
    };
    Ok((shard.id, Watermark::Start(place)))
}

/// The last record of a shard, where it came within the last seconds.
pub(super) async fn newest(source: &Arc<Source>, shard: &Shard) -> Result<Option<Position>> {
    let since = source.time.now().saturating_sub(LOOK_BACK);
    newest_since(source, shard, since).await
}

/// Reads on from `since` until the tip, or until what was stored after the call, and answers the
/// last position.
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
    let mut newest: Option<Record> = None;
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
        let at_tip = answer.millis_behind_latest == Some(0);
        let empty = answer.records.is_empty();
        let bytes = answer.records.iter().map(|it| it.data.as_ref().len()).sum();
        pace.answered(sent, bytes, at_tip);
        iterator = answer.next_shard_iterator;
        if let Some(last) = answer.records.into_iter().next_back() {
            place = Place::Sequence(last.sequence_number.clone());
            newest = Some(last);
        }
        let passed = newest
            .as_ref()
            .and_then(|last| timestamp(last.approximate_arrival_timestamp.as_ref()))
            .is_some_and(|stored| stored > called);
        if passed || iterator.is_none() || (empty && at_tip) {
            return newest.map(last_position).transpose();
        }
    }
}

/// The position of the last event in a record.
fn last_position(record: Record) -> Result<Position> {
    let position = sequence(&record.sequence_number)?;
    let data = Bytes::from(record.data.into_inner());
    let inner = aggregation::split(&data).unwrap_or_default();
    Ok(position.with_sub(inner.last().map_or(0, |last| last.index)))
}

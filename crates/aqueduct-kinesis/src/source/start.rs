use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Checkpoint, Error, ErrorKind, PartitionId, Position, ReadFrom, ResolvedStart, Result, Start,
    Timestamp,
};
use futures::{StreamExt as _, TryStreamExt as _};

use super::context::Context;
use super::convert::sequence;
use super::rate_limiter::PollRateLimiter;
use super::records::{MAX_RECORDS, Raw};
use super::shard_client::ShardClient;
use super::shard_iterator::IteratorStart;
use crate::aggregation;
use crate::shards::Shard;

/// How far back the last records are searched. The service stamps records by the clocks of several
/// machines, which differ by less than this.
const LOOK_BACK: Duration = Duration::from_secs(5);

/// The number of shards resolved concurrently.
const SIDE_BY_SIDE: usize = 16;

/// The longest interval of polls while a start is resolved: few polls, that a starting group waits for.
const RESOLVING: Duration = Duration::from_millis(200);

/// The number of throttled requests in a row after which resolving fails.
const REFUSALS: u32 = 6;

/// Resolves a start to fixed places.
///
/// The latest place of a shard is after the last record of the last seconds, which is found by reading
/// them. If there is none, it is the time at which reading them began: no record was stored between
/// that time and now, and later ones get a later time.
pub(super) async fn resolve(context: &Arc<Context>, start: &Start) -> Result<ResolvedStart> {
    let shards = context.list().await?;
    let at = context.time.now();
    let everywhere = |from: ReadFrom| {
        let place = |shard: &Shard| (shard.id.clone(), Checkpoint::Start(from));
        shards.iter().map(place).collect()
    };
    let partitions = match start {
        Start::Earliest => everywhere(ReadFrom::Earliest),
        Start::Time(time) => everywhere(ReadFrom::Time(*time)),
        Start::Latest => {
            let latest = |shard| latest(context.clone(), shard, at);
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
                    let stream = &context.kinesis.shown;
                    let message = format!("stream {stream} has no shard {id}");
                    Err(Error::new(ErrorKind::NotFound, message))
                }
            })
            .collect::<Result<_>>()?,
    };
    Ok(ResolvedStart { at, partitions })
}

async fn latest(
    context: Arc<Context>,
    shard: Shard,
    at: Timestamp,
) -> Result<(PartitionId, Checkpoint)> {
    if !shard.is_open() {
        return Ok((shard.id, Checkpoint::End));
    }
    let since = at.saturating_sub(LOOK_BACK);
    let place = match newest_since(&context, &shard, since).await? {
        Some(newest) => ReadFrom::After(newest),
        None => ReadFrom::Time(since),
    };
    Ok((shard.id, Checkpoint::Start(place)))
}

/// Returns the last position of a shard, if its record was stored within the last seconds.
pub(super) async fn newest(context: &Arc<Context>, shard: &Shard) -> Result<Option<Position>> {
    let since = context.time.now().saturating_sub(LOOK_BACK);
    newest_since(context, shard, since).await
}

/// Reads from `since` to the tip, or to the first record stored after the call, and returns the last
/// position.
async fn newest_since(
    context: &Arc<Context>,
    shard: &Shard,
    since: Timestamp,
) -> Result<Option<Position>> {
    let client = ShardClient::new(context.clone(), shard.clone());
    let called = context.time.now();
    let mut rate_limiter = PollRateLimiter::new(
        &context.runtime,
        context.reading.poll_interval.min(RESOLVING),
    );
    let mut start = IteratorStart::Time(since);
    let mut iterator: Option<String> = None;
    let mut newest: Option<Newest> = None;
    loop {
        context.runtime.sleep_until(rate_limiter.due()).await;
        let sent = context.runtime.now();
        let response = async {
            let iterator = match iterator.take() {
                Some(iterator) => iterator,
                None => client.iterator(&start).await?,
            };
            client.records(iterator, MAX_RECORDS as i32).await
        };
        let response = match response.await {
            Ok(response) => response,
            Err(error)
                if error.is(ErrorKind::Throttled) && rate_limiter.times_throttled() < REFUSALS =>
            {
                rate_limiter.throttled();
                continue;
            }
            Err(error) => return Err(error),
        };
        let at_tip = response.behind == Some(Duration::ZERO);
        let mut records = response.records;
        let empty = records.is_empty();
        rate_limiter.responded(sent, records.bytes(), at_tip);
        iterator = response.next;
        if let Some(last) = records.take_last() {
            let last = last?;
            newest = Some(Newest::of(&last)?);
            start = IteratorStart::Sequence(last.sequence.into_owned());
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

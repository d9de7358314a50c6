use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Error, ErrorKind, Instant, OpenPartition, PartitionEnd, PartitionReader, ReadBatch, ReadFrom,
    Record, Result, Runtime, StreamName, Tail, Timestamp,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, select};
use rusqlite::Connection;

use super::{first_since, no_partition};
use crate::codec::unpack;
use crate::error::SqlResultExt as _;
use crate::notify::PartitionSignal;
use crate::store::SqliteStore;
use crate::streams::{PartitionRow, from_nanos, name_of, partition_by_id, position, sequence};

pub(super) struct SqliteReader {
    pub(super) store: SqliteStore,
    pub(super) runtime: Runtime,
    pub(super) stream: StreamName,
    pub(super) request: OpenPartition,
    pub(super) partition: i64,
    pub(super) appended: Arc<PartitionSignal>,
    /// The place at which the next fetch begins.
    pub(super) cursor: Cursor,
    /// Fetched, but not yet returned.
    pub(super) fetched: VecDeque<Record>,
    /// The end of the partition, once the last fetch has reached it.
    pub(super) end: Option<PartitionEnd>,
    /// The last position stored, as of the last fetch.
    pub(super) last: i64,
    /// The end of the partition before a fetch that found nothing, and when the next fetch is made
    /// although it has not moved.
    pub(super) quiet: Option<(i64, Instant)>,
}

/// The interval of fetches from a partition of which no news comes: in case the poller fails.
const LOOK: Duration = Duration::from_secs(30);

/// The result of one fetch.
struct Fetched {
    records: VecDeque<Record>,
    cursor: Cursor,
    end: Option<PartitionEnd>,
    last: i64,
}

#[async_trait]
impl PartitionReader for SqliteReader {
    async fn read(&mut self, max_events: usize) -> Result<ReadBatch> {
        let max_events = max_events.max(1);
        let mut deadline = None;
        while self.fetched.is_empty() && self.end.is_none() {
            // Listen before fetching, so that an event stored in between wakes this reader.
            let moved = self.appended.signal.listen();
            let (seen, now) = (self.appended.seen(), self.runtime.now());
            if !self.is_quiet(seen, now) {
                // No state changes before the fetch has ended, so that a cancelled one can be repeated.
                let fetched = self.fetch().await?;
                self.cursor = fetched.cursor;
                self.fetched = fetched.records;
                self.end = fetched.end;
                self.last = fetched.last;
                if !self.fetched.is_empty() || self.end.is_some() {
                    self.quiet = None;
                    break;
                }
                self.quiet = Some((seen, now + LOOK));
            }
            let until = *deadline.get_or_insert_with(|| self.runtime.now() + self.request.max_wait);
            if let Either::Right(_) = select(moved, self.runtime.sleep_until(until)).await {
                break;
            }
            // Woken for a reason: also if the end is where it was, as after the file was replaced.
            self.quiet = None;
        }
        Ok(self.answer(max_events))
    }
}

impl SqliteReader {
    /// Returns whether a fetch would find nothing, as the last one did.
    fn is_quiet(&self, seen: i64, now: Instant) -> bool {
        self.quiet
            .is_some_and(|(before, until)| before == seen && now < until)
    }

    fn answer(&mut self, max_events: usize) -> ReadBatch {
        let mut batch = ReadBatch::default();
        if self.fetched.len() <= max_events {
            batch.records = Vec::from(std::mem::take(&mut self.fetched));
            batch.end = self.end.clone();
        } else {
            batch.records = self.fetched.drain(..max_events).collect();
        }
        let answered = match (batch.records.last(), self.cursor) {
            (Some(record), _) => Some(sequence(record.position)),
            (None, Cursor::Position(next)) => Some(next - 1),
            (None, _) => None,
        };
        let mut tail = Tail::at((self.last > 0).then(|| position(self.last)));
        tail.events_behind = answered.map(|answered| (self.last - answered).max(0) as u64);
        batch.tail = Some(tail);
        batch
    }

    async fn fetch(&self) -> Result<Fetched> {
        let (stream, id) = (self.stream.clone(), self.partition);
        let (cursor, max_bytes) = (self.cursor, self.request.max_bytes);
        let number = self.request.partition.clone();
        self.store
            .read(move |connection| {
                // One snapshot of the file, so that retention removes nothing between two statements.
                let connection = &connection
                    .unchecked_transaction()
                    .sql("begin to read events")?;
                let row = partition_by_id(connection, id)?
                    .ok_or_else(|| no_partition(&stream, &number))?;
                let next = match cursor {
                    Cursor::Earliest => Some(row.first),
                    Cursor::Time(time) => first_since(connection, id, time)?,
                    Cursor::Position(next) => Some(next),
                };
                let Some(next) = next else {
                    return Ok(Fetched {
                        records: VecDeque::new(),
                        cursor,
                        end: end_of(&row, row.next),
                        last: row.next - 1,
                    });
                };
                check(&stream, &row, next)?;
                let (records, behind) = if next < row.next {
                    rows_from(connection, &stream, &row, next, max_bytes)?
                } else {
                    (VecDeque::new(), next)
                };
                Ok(Fetched {
                    records,
                    cursor: Cursor::Position(behind),
                    end: end_of(&row, behind),
                    last: row.next - 1,
                })
            })
            .await
    }
}

fn end_of(row: &PartitionRow, next: i64) -> Option<PartitionEnd> {
    (row.closed && next >= row.next).then(|| PartitionEnd {
        children: row.children.iter().copied().map(name_of).collect(),
    })
}

/// Reads the events from `next` on, about `max_bytes` and at least one, and the position behind them.
fn rows_from(
    connection: &Connection,
    stream: &StreamName,
    row: &PartitionRow,
    next: i64,
    max_bytes: usize,
) -> Result<(VecDeque<Record>, i64)> {
    let what = "read events";
    let mut select = connection
        .prepare_cached(concat!(
            "SELECT first, last, stored_at, shapes, heads, body FROM aqueduct_segment ",
            "WHERE partition = ?1 AND last >= ?2 ORDER BY last"
        ))
        .sql(what)?;
    let mut found = select.query([row.id, next]).sql(what)?;
    let mut records = VecDeque::new();
    let (mut behind, mut bytes) = (next, 0);
    while let Some(segment) = found.next().sql(what)? {
        let number = |at| segment.get::<_, i64>(at).sql(what);
        let (first, last) = (number(0)?, number(1)?);
        let stored_at = from_nanos(number(2)?);
        if first > behind {
            // Retention removed it between the two statements.
            return check(
                stream,
                &PartitionRow {
                    first,
                    ..row.clone()
                },
                behind,
            )
            .map(|()| (records, behind));
        }
        let raw = |at| {
            segment
                .get_ref(at)
                .and_then(|value| Ok(value.as_bytes()?))
                .sql(what)
        };
        let body = Bytes::copy_from_slice(raw(5)?);
        bytes += body.len() + raw(4)?.len();
        let skip = (behind - first) as usize;
        records.reserve((last + 1 - behind) as usize);
        unpack(raw(3)?, raw(4)?, &body, skip, |event| {
            records.push_back(Record::new(event, position(behind), Some(stored_at)));
            behind += 1;
        })?;
        if behind != last + 1 {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the row of the events {first} to {last} has a different number of events"),
            ));
        }
        if bytes >= max_bytes {
            break;
        }
    }
    Ok((records, behind))
}

/// The place at which a reader goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cursor {
    /// At the oldest event as of the first read: resolved late, so that retention cannot overtake it.
    Earliest,
    /// At the first event stored at or after a time in the future.
    Time(Timestamp),
    Position(i64),
}

pub(super) fn start_of(
    connection: &Connection,
    row: &PartitionRow,
    from: ReadFrom,
) -> Result<Cursor> {
    Ok(match from {
        ReadFrom::Earliest => Cursor::Earliest,
        ReadFrom::Time(time) => match first_since(connection, row.id, time)? {
            Some(first) => Cursor::Position(first),
            None => Cursor::Time(time),
        },
        // Position 0 is before the first event, which has position 1.
        ReadFrom::At(position) => Cursor::Position(sequence(position).max(1)),
        ReadFrom::After(position) => Cursor::Position(sequence(position).saturating_add(1)),
    })
}

pub(super) fn check(stream: &StreamName, row: &PartitionRow, wanted: i64) -> Result<()> {
    let (first, next) = (row.first, row.next);
    let why = if wanted < first {
        format!("position {wanted} is no longer kept, the first is {first}")
    } else if wanted > next {
        format!("position {wanted} was never written, the next is {next}: the stream was recreated")
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::PositionExpired,
        format!("stream {stream}, partition {}: {why}", row.number),
    ))
}

use std::collections::VecDeque;
use std::sync::Arc;

use aqueduct_core::{
    Capabilities, Error, ErrorKind, OpenPartition, Partition, PartitionEnd, PartitionId,
    PartitionReader, PartitionedLog, ReadBatch, ReadFrom, Record, ResolvedStart, Result, Runtime,
    Start, StreamName, Tail, Timestamp, Watermark,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, select};
use rusqlite::Connection;

use crate::codec::unpack;
use crate::error::SqlResultExt as _;
use crate::store::SqliteStore;
use crate::streams::{
    PartitionRow, from_nanos, name_of, nanos, need_stream, number_of, partition, partition_by_id,
    partitions_of, position, sequence,
};
use crate::tails;

/// One stream of the file, to be read.
pub(crate) struct SqliteLog {
    store: SqliteStore,
    stream: StreamName,
    runtime: Runtime,
    capabilities: Capabilities,
}

impl SqliteLog {
    pub(crate) fn new(
        store: SqliteStore,
        stream: StreamName,
        runtime: Runtime,
        capabilities: Capabilities,
    ) -> Self {
        Self {
            store,
            stream,
            runtime,
            capabilities,
        }
    }

    async fn with_partition<T: Send + 'static>(
        &self,
        id: &PartitionId,
        read: impl FnOnce(&Connection, i64, PartitionRow) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (stream, id) = (self.stream.clone(), id.clone());
        self.store
            .read(move |connection| {
                let found = need_stream(connection, &stream)?.id;
                let row = match number_of(&id) {
                    Some(number) => partition(connection, found, number)?,
                    None => None,
                };
                read(
                    connection,
                    found,
                    row.ok_or_else(|| no_partition(&stream, &id))?,
                )
            })
            .await
    }
}

#[async_trait]
impl PartitionedLog for SqliteLog {
    fn stream(&self) -> &StreamName {
        &self.stream
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        let stream = self.stream.clone();
        self.store
            .read(move |connection| {
                let rows = partitions_of(connection, need_stream(connection, &stream)?.id)?;
                Ok(rows.iter().map(PartitionRow::to_partition).collect())
            })
            .await
    }

    async fn resolve(&self, start: &Start) -> Result<ResolvedStart> {
        let at = self.runtime.wall();
        let (stream, start) = (self.stream.clone(), start.clone());
        self.store
            .read(move |connection| {
                let rows = partitions_of(connection, need_stream(connection, &stream)?.id)?;
                let of = |from: ReadFrom| {
                    let places = rows
                        .iter()
                        .map(|row| Ok((row.name(), place(connection, row, from, at)?)));
                    places.collect::<Result<Vec<_>>>()
                };
                let partitions = match &start {
                    Start::Earliest => of(ReadFrom::Earliest)?,
                    Start::Time(time) => of(ReadFrom::Time(*time))?,
                    Start::Latest => rows.iter().map(latest).collect(),
                    Start::Positions(named) => named
                        .iter()
                        .map(|(id, from)| {
                            let number = number_of(id);
                            let row = rows.iter().find(|row| Some(row.number) == number);
                            let row = row.ok_or_else(|| no_partition(&stream, id))?;
                            Ok((id.clone(), place(connection, row, *from, at)?))
                        })
                        .collect::<Result<_>>()?,
                };
                Ok(ResolvedStart { at, partitions })
            })
            .await
    }

    async fn tail(&self, partition: &PartitionId) -> Result<Tail> {
        self.with_partition(partition, |_, _, row| Ok(Tail::at(row.last())))
            .await
    }

    async fn open(&self, request: &OpenPartition) -> Result<Box<dyn PartitionReader>> {
        let from = request.from;
        let stream = self.stream.clone();
        let (row, next) = self
            .with_partition(&request.partition, move |connection, _, row| {
                let next = start_of(connection, &row, from)?;
                if let Cursor::Position(next) = next {
                    check(&stream, &row, next)?;
                }
                Ok((row, next))
            })
            .await?;
        Ok(Box::new(SqliteReader {
            tail: self.store.0.tails.subscribe(row.id),
            store: self.store.clone(),
            runtime: self.runtime.clone(),
            stream: self.stream.clone(),
            request: request.clone(),
            partition: row.id,
            cursor: next,
            fetched: VecDeque::new(),
            end: None,
            last: row.next - 1,
        }))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
}

/// Where `from` lies in a partition, as a place that does not move where there is one.
fn place(
    connection: &Connection,
    row: &PartitionRow,
    from: ReadFrom,
    now: Timestamp,
) -> Result<Watermark> {
    let ReadFrom::Time(time) = from else {
        return Ok(Watermark::Start(from));
    };
    Ok(match first_since(connection, row.id, time)? {
        Some(first) => Watermark::Start(ReadFrom::At(position(first))),
        None if row.closed => Watermark::End,
        None if time <= now => Watermark::Start(ReadFrom::At(position(row.next))),
        None => Watermark::Start(from),
    })
}

/// Behind everything stored: of a closed partition nothing is left.
fn latest(row: &PartitionRow) -> (PartitionId, Watermark) {
    let watermark = if row.closed {
        Watermark::End
    } else {
        Watermark::Start(ReadFrom::After(position(row.next - 1)))
    };
    (row.name(), watermark)
}

/// The position of the first event stored at or after `time`.
pub(crate) fn first_since(
    connection: &Connection,
    partition: i64,
    time: Timestamp,
) -> Result<Option<i64>> {
    connection
        .prepare_cached(concat!(
            "SELECT min(first) FROM (SELECT first FROM aqueduct_segment ",
            "WHERE partition = ?1 AND stored_at >= ?2 ORDER BY stored_at, last LIMIT 1)"
        ))
        .and_then(|mut select| select.query_row([partition, nanos(time)], |row| row.get(0)))
        .sql("find a time in a partition")
}

/// Where a reader goes on.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// With whatever is the oldest at the first read: retention cannot overtake it before.
    Earliest,
    /// With the first event of a time that has yet to come.
    Time(Timestamp),
    Position(i64),
}

fn start_of(connection: &Connection, row: &PartitionRow, from: ReadFrom) -> Result<Cursor> {
    Ok(match from {
        ReadFrom::Earliest => Cursor::Earliest,
        ReadFrom::Time(time) => match first_since(connection, row.id, time)? {
            Some(first) => Cursor::Position(first),
            None => Cursor::Time(time),
        },
        // Position 0 stands before the first, which is 1.
        ReadFrom::At(position) => Cursor::Position(sequence(position).max(1)),
        ReadFrom::After(position) => Cursor::Position(sequence(position).saturating_add(1)),
    })
}

fn check(stream: &StreamName, row: &PartitionRow, wanted: i64) -> Result<()> {
    let (first, next) = (row.first, row.next);
    let why = if wanted < first {
        format!("position {wanted} is no longer kept, the first is {first}")
    } else if wanted > next {
        format!("position {wanted} was never written, the next is {next}: the stream was made anew")
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::PositionExpired,
        format!("stream {stream}, partition {}: {why}", row.number),
    ))
}

fn no_partition(stream: &StreamName, partition: &PartitionId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("stream {stream}: there is no partition {partition}"),
    )
}

struct SqliteReader {
    store: SqliteStore,
    runtime: Runtime,
    stream: StreamName,
    request: OpenPartition,
    partition: i64,
    tail: Arc<tails::Tail>,
    /// What the next fetch begins with.
    cursor: Cursor,
    /// Fetched and not answered yet.
    fetched: VecDeque<Record>,
    /// Where the partition ends behind what is fetched.
    end: Option<PartitionEnd>,
    /// The last position stored, as of the last fetch.
    last: i64,
}

/// What one fetch brought.
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
            // Before the look, so that nothing is stored unseen in between.
            let moved = self.tail.signal.listen();
            // Nothing is kept of it before it is there: a cancelled fetch is made again.
            let fetched = self.fetch().await?;
            self.cursor = fetched.cursor;
            self.fetched = fetched.records;
            self.end = fetched.end;
            self.last = fetched.last;
            if !self.fetched.is_empty() || self.end.is_some() {
                break;
            }
            let until = *deadline.get_or_insert_with(|| self.runtime.now() + self.request.max_wait);
            if let Either::Right(_) = select(moved, self.runtime.sleep_until(until)).await {
                break;
            }
        }
        Ok(self.answer(max_events))
    }
}

impl SqliteReader {
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

/// The events from `next` on, about `max_bytes` of them and at least one; and the position behind
/// them.
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
                format!("the row of the events {first} to {last} holds another number of them"),
            ));
        }
        if bytes >= max_bytes {
            break;
        }
    }
    Ok((records, behind))
}

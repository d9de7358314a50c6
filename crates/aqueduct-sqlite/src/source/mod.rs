mod reader;

use std::collections::VecDeque;

use aqueduct_core::{
    Capabilities, Checkpoint, Error, ErrorKind, OpenPartition, Partition, PartitionId,
    PartitionReader, PartitionedLog, ReadFrom, ResolvedStart, Result, Runtime, Start, StreamId,
    StreamName, Tail, Timestamp,
};
use async_trait::async_trait;
use rusqlite::Connection;

use self::reader::{Cursor, SqliteReader, check, start_of};
use crate::error::SqlResultExt as _;
use crate::store::SqliteStore;
use crate::stored_times;
use crate::streams::{
    PartitionRow, nanos, need_stream, number_of, partition, partitions_of, position,
};

/// Reads one stream of the file.
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

    async fn created(&self) -> Result<Option<Timestamp>> {
        let stream = self.stream.clone();
        self.store
            .read(move |connection| Ok(Some(need_stream(connection, &stream)?.created)))
            .await
    }

    async fn stream_id(&self) -> Result<Option<StreamId>> {
        let stream = self.stream.clone();
        self.store
            .read(move |connection| {
                let row = need_stream(connection, &stream)?;
                Ok(row.identity.map(StreamId::new))
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
            appended: self.store.0.notifier.subscribe(row.id),
            store: self.store.clone(),
            runtime: self.runtime.clone(),
            stream: self.stream.clone(),
            request: request.clone(),
            partition: row.id,
            cursor: next,
            fetched: VecDeque::new(),
            end: None,
            last: row.next - 1,
            quiet: None,
        }))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
}

/// Resolves `from` to a place in a partition, fixed if one exists already.
fn place(
    connection: &Connection,
    row: &PartitionRow,
    from: ReadFrom,
    now: Timestamp,
) -> Result<Checkpoint> {
    let ReadFrom::Time(time) = from else {
        return Ok(Checkpoint::Start(from));
    };
    Ok(match first_since(connection, row.id, time)? {
        Some(first) => Checkpoint::Start(ReadFrom::At(position(first))),
        None if row.closed => Checkpoint::End,
        None if time <= now => Checkpoint::Start(ReadFrom::At(position(row.next))),
        None => Checkpoint::Start(from),
    })
}

/// Returns the checkpoint behind everything stored: a closed partition is completed.
fn latest(row: &PartitionRow) -> (PartitionId, Checkpoint) {
    let checkpoint = if row.closed {
        Checkpoint::End
    } else {
        Checkpoint::Start(ReadFrom::After(position(row.next - 1)))
    };
    (row.name(), checkpoint)
}

/// Returns the position of the first event stored at or after `time`.
pub(crate) fn first_since(
    connection: &Connection,
    partition: i64,
    time: Timestamp,
) -> Result<Option<i64>> {
    stored_times::first_since(connection, partition, nanos(time)).sql("find a time in a partition")
}

fn no_partition(stream: &StreamName, partition: &PartitionId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("stream {stream} has no partition {partition}"),
    )
}

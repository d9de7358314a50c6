use std::sync::Arc;

use aqueduct_core::{
    Capabilities, Checkpoint, OpenPartition, Partition, PartitionId, PartitionReader,
    PartitionedLog, Position, ReadFrom, ResolvedStart, Result, Runtime, Start, StreamId,
    StreamName, Tail, Timestamp,
};
use async_trait::async_trait;

use crate::error;
use crate::faults::Operation;
use crate::partition::PartitionLog;
use crate::reader::MemoryReader;
use crate::stream::Stream;

pub(crate) struct MemoryLog {
    stream: Arc<Stream>,
    runtime: Runtime,
    capabilities: Capabilities,
}

impl MemoryLog {
    pub(crate) fn new(stream: Arc<Stream>, runtime: Runtime, capabilities: Capabilities) -> Self {
        Self {
            stream,
            runtime,
            capabilities,
        }
    }

    async fn ask<T>(&self, operation: Operation, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.stream.plan.run(operation, &self.runtime, work).await
    }
}

#[async_trait]
impl PartitionedLog for MemoryLog {
    fn stream(&self) -> &StreamName {
        &self.stream.name
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        let now = self.runtime.wall();
        let list = || {
            self.stream.with_log(|log| {
                log.expire(now);
                Ok(log.listed().map(PartitionLog::describe).collect())
            })
        };
        self.ask(Operation::Describe, list).await
    }

    async fn created(&self) -> Result<Option<Timestamp>> {
        self.stream.with_log(|log| Ok(Some(log.created)))
    }

    async fn stream_id(&self) -> Result<Option<StreamId>> {
        self.stream.with_log(|log| Ok(Some(log.id.clone())))
    }

    async fn resolve(&self, start: &Start) -> Result<ResolvedStart> {
        let at = self.runtime.wall();
        let resolve = || {
            self.stream.with_log(|log| {
                log.expire(at);
                let places = match start {
                    Start::Earliest => log
                        .listed()
                        .map(|it| place(it, ReadFrom::Earliest, at))
                        .collect(),
                    Start::Latest => log.listed().map(latest).collect(),
                    Start::Time(time) => log
                        .listed()
                        .map(|it| place(it, ReadFrom::Time(*time), at))
                        .collect(),
                    Start::Positions(named) => named
                        .iter()
                        .map(|(id, from)| match log.find(id) {
                            Some(found) => Ok(place(log.partition(found), *from, at)),
                            None => Err(error::no_partition(&self.stream.name, id)),
                        })
                        .collect::<Result<_>>()?,
                };
                Ok(ResolvedStart {
                    at,
                    partitions: places,
                })
            })
        };
        self.ask(Operation::Describe, resolve).await
    }

    async fn tail(&self, partition: &PartitionId) -> Result<Tail> {
        let tail = || {
            self.stream.with_log(|log| match log.find(partition) {
                Some(at) => Ok(Tail::at(log.partition(at).last())),
                None => Err(error::no_partition(&self.stream.name, partition)),
            })
        };
        self.ask(Operation::Describe, tail).await
    }

    async fn open(&self, request: &OpenPartition) -> Result<Box<dyn PartitionReader>> {
        let open = || MemoryReader::open(&self.stream, &self.runtime, request);
        let reader = self.ask(Operation::Open, open).await?;
        Ok(Box::new(reader))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
}

/// Resolves `from` in a partition to a fixed place if there is one.
fn place(partition: &PartitionLog, from: ReadFrom, now: Timestamp) -> (PartitionId, Checkpoint) {
    let checkpoint = match from {
        ReadFrom::Time(time) => match partition.first_since(time) {
            Some(position) => Checkpoint::Start(ReadFrom::At(Position::new(position))),
            None if partition.closed.is_some() => Checkpoint::End,
            None if time <= now => Checkpoint::Start(ReadFrom::At(Position::new(partition.next))),
            None => Checkpoint::Start(from),
        },
        _ => Checkpoint::Start(from),
    };
    (partition.id.clone(), checkpoint)
}

/// Returns the checkpoint after everything stored: the end of a closed partition.
fn latest(partition: &PartitionLog) -> (PartitionId, Checkpoint) {
    let checkpoint = match partition.closed {
        Some(_) => Checkpoint::End,
        None => Checkpoint::Start(ReadFrom::After(Position::new(partition.next - 1))),
    };
    (partition.id.clone(), checkpoint)
}

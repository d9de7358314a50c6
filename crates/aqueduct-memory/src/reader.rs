use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_core::{
    OpenPartition, PartitionEnd, PartitionReader, Position, ReadBatch, ReadFrom, Record, Result,
    Runtime, StreamName, Tail, Timestamp,
};
use async_trait::async_trait;
use event_listener::Event as Signal;
use futures::future::{Either, select};

use crate::error;
use crate::faults::Operation;
use crate::partition::PartitionLog;
use crate::stream::Stream;

/// Reads one partition for one group.
pub(crate) struct MemoryReader {
    stream: Arc<Stream>,
    runtime: Runtime,
    request: OpenPartition,
    signal: Arc<Signal>,
    displaced: Arc<AtomicBool>,
    incarnation: u64,
    /// The number of connection cuts that it has reported.
    cuts: u64,
    at: usize,
    cursor: Cursor,
}

impl MemoryReader {
    pub(crate) fn open(
        stream: &Arc<Stream>,
        runtime: &Runtime,
        request: &OpenPartition,
    ) -> Result<Self> {
        stream.with_log(|log| {
            log.expire(runtime.wall());
            let Some(at) = log.find(&request.partition) else {
                return Err(error::no_partition(&stream.name, &request.partition));
            };
            let (cursor, incarnation) = (Cursor::new(request.from), log.incarnation);
            let partition = log.partition_mut(at);
            cursor.check(&stream.name, partition)?;
            let generation = request.generation;
            let Some(displaced) = partition.admit(&request.group, generation) else {
                return Err(error::displaced(&stream.name, &partition.id, generation));
            };
            Ok(Self {
                stream: stream.clone(),
                runtime: runtime.clone(),
                request: request.clone(),
                signal: partition.signal.clone(),
                displaced,
                incarnation,
                cuts: stream.plan.cuts(),
                at,
                cursor,
            })
        })
    }

    /// Returns the records stored now; `None` if there are none.
    fn take(&mut self, max_events: usize, even_empty: bool) -> Result<Option<ReadBatch>> {
        let Self {
            stream,
            runtime,
            request,
            cursor,
            ..
        } = self;
        if self.displaced.load(Ordering::Relaxed) {
            let generation = request.generation;
            return Err(error::displaced(
                &stream.name,
                &request.partition,
                generation,
            ));
        }
        let cuts = stream.plan.cuts();
        if std::mem::replace(&mut self.cuts, cuts) != cuts {
            return Err(error::cut(&stream.name, &request.partition));
        }
        stream.with_log(|log| {
            if log.incarnation != self.incarnation {
                return Err(error::no_stream(&stream.name));
            }
            if log.settings.retention.is_some() {
                log.expire(runtime.wall());
            }
            let partition = log.partition(self.at);
            let from = cursor.check(&stream.name, partition)?;
            let mut batch = ReadBatch::default();
            let mut next = from.unwrap_or(partition.next);
            let left = (partition.next - next) as usize;
            batch.records.reserve_exact(left.min(max_events));
            let mut bytes = 0;
            for (position, stored) in partition.records_from(next).take(max_events) {
                bytes += stored.size;
                if bytes > request.max_bytes && !batch.records.is_empty() {
                    break;
                }
                let position = Position::new(position);
                batch
                    .records
                    .push(Record::new(stored.event.clone(), position, Some(stored.at)));
            }
            next += batch.records.len() as u64;
            if partition.closed.is_some() && next == partition.next {
                batch.end = Some(PartitionEnd {
                    children: partition.children.clone(),
                });
            }
            if batch.records.is_empty() && batch.end.is_none() && !even_empty {
                return Ok(None);
            }
            batch.tail = Some(tail(partition, next));
            batch.tail_at = Some(runtime.wall());
            if !batch.records.is_empty() {
                *cursor = Cursor::Position(next);
            }
            Ok(Some(batch))
        })
    }
}

#[async_trait]
impl PartitionReader for MemoryReader {
    async fn read(&mut self, max_events: usize) -> Result<ReadBatch> {
        let max_events = max_events.max(1);
        let mut deadline = None;
        loop {
            // The cursor moves only after the last await, so a cancelled read loses nothing.
            if self.stream.plan.is_armed() {
                self.stream
                    .plan
                    .interrupt(Operation::Read, &self.runtime)
                    .await?;
            }
            if let Some(batch) = self.take(max_events, false)? {
                return Ok(batch);
            }
            let changed = self.signal.listen();
            if let Some(batch) = self.take(max_events, false)? {
                return Ok(batch);
            }
            let until = *deadline.get_or_insert_with(|| self.runtime.now() + self.request.max_wait);
            match select(changed, self.runtime.sleep_until(until)).await {
                Either::Left(_) => {}
                Either::Right(_) => return Ok(self.take(max_events, true)?.unwrap_or_default()),
            }
        }
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        // A deleted log has dropped its readers already.
        let _ = self.stream.with_log(|log| {
            if log.incarnation == self.incarnation {
                log.partition_mut(self.at).dismiss(&self.displaced);
            }
            Ok(())
        });
    }
}

/// The place from which a reader continues.
#[derive(Clone, Copy)]
enum Cursor {
    /// The oldest event at the time of the first read, so that retention cannot overtake it before.
    Earliest,
    Time(Timestamp),
    Position(u64),
}

impl Cursor {
    fn new(from: ReadFrom) -> Self {
        // A position of another backend is treated as one that was never written.
        let number = |position: Position| position.sequence().unwrap_or(u64::MAX - 1);
        match from {
            ReadFrom::Earliest => Self::Earliest,
            ReadFrom::Time(time) => Self::Time(time),
            ReadFrom::At(position) => Self::Position(number(position)),
            ReadFrom::After(position) => Self::Position(number(position).saturating_add(1)),
        }
    }

    /// Returns the position to read at; `None` if no event of that time is stored yet.
    fn check(self, stream: &StreamName, partition: &PartitionLog) -> Result<Option<u64>> {
        let first = partition.first();
        match self {
            Self::Earliest => Ok(Some(first)),
            Self::Time(time) => Ok(partition.first_since(time)),
            // Position 0 means before the first one, which is 1.
            Self::Position(at) if at.max(1) < first => {
                Err(error::expired(stream, &partition.id, at, first))
            }
            Self::Position(at) if at > partition.next => Err(error::never_written(
                stream,
                &partition.id,
                at,
                partition.next,
            )),
            Self::Position(at) => Ok(Some(at.max(1))),
        }
    }
}

/// Returns the end of a partition for a reader that continues at `next`.
fn tail(partition: &PartitionLog, next: u64) -> Tail {
    let mut tail = Tail::at(partition.last());
    tail.events_behind = Some(partition.next - next);
    let newest = partition.newest();
    let oldest = partition.records_from(next).next().map(|(_, it)| it.at);
    tail.time_behind = Some(match (newest, oldest) {
        (Some(newest), Some(oldest)) => newest.since(oldest),
        _ => Duration::ZERO,
    });
    tail
}

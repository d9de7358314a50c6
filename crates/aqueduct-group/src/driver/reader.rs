use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backoff, Checkpoint, Error, ErrorKind, Instant, OpenPartition, PartitionReader, Retry,
};
use futures::future::{Either, select};

use super::slot::Slot;

/// The interval of tail requests for a partition whose reads do not report it.
const TAIL_EVERY: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// Runs an open partition from its first hook to its last.
pub(super) async fn attend(slot: Arc<Slot>, previous: Option<Arc<Slot>>) {
    if let Some(previous) = previous {
        previous.stopping.finished().await;
    }
    let rebalance_listener = slot.shared.options.rebalance_listener.clone();
    if let Some(rebalance_listener) = &rebalance_listener {
        rebalance_listener
            .assigned(&slot.assignment, &slot.origin.start)
            .await;
    }
    if slot.stopping.why().is_none() {
        slot.open();
    }
    let reading = Box::pin(read_on(&slot));
    let begun = Box::pin(slot.stopping.begun());
    // The stop comes first, and drops the reader.
    drop(futures::future::select(begun, reading).await);
    let why = slot.stopping.begun().await;
    if let Some(rebalance_listener) = &rebalance_listener {
        rebalance_listener.revoked(&slot.assignment, why).await;
    }
    slot.stopping.finish();
    slot.shared.driver.wake.notify(usize::MAX);
}

async fn read_on(slot: &Slot) {
    let shared = &slot.shared;
    let mut reader: Option<Box<dyn PartitionReader>> = None;
    let mut tail_at = Instant::default();
    if slot.origin.start == Checkpoint::End {
        return slot.reader_ended(Vec::new());
    }
    loop {
        let room = room(slot, &mut tail_at).await;
        let began = shared.runtime.wall();
        let read = match reader.as_mut() {
            Some(reader) => reader.read(room).await,
            None => match open(slot).await {
                Ok(Some(opened)) => {
                    reader = Some(opened);
                    continue;
                }
                Ok(None) => return,
                Err(error) => Err(error),
            },
        };
        match read {
            Ok(batch) => {
                let now = shared.runtime.now();
                if batch.tail.is_some() {
                    tail_at = now + TAIL_EVERY;
                }
                // As of the beginning of the read: records stored during it may be missing.
                let tail = batch
                    .tail
                    .map(|tail| (tail, batch.tail_at.unwrap_or(began)));
                slot.fetched(batch.records, tail, now);
                if let Some(end) = batch.end {
                    return slot.reader_ended(end.children);
                }
                if now >= tail_at {
                    tail_at = now + TAIL_EVERY;
                    ask_tail(slot).await;
                }
            }
            Err(error) if error.is(ErrorKind::PositionExpired) || error.is(ErrorKind::NotFound) => {
                reader = None;
                match slot.cross_gap(&error).await {
                    Ok(Some(opened)) => reader = Some(opened),
                    Ok(None) => return,
                    Err(error) => drop(wait(slot, &error).await),
                }
            }
            Err(error) => {
                if wait(slot, &error).await > 2 || !error.is_retryable() {
                    reader = None;
                }
            }
        }
    }
}

/// Waits for room and returns how many records to read. While the partition is full or blocked it
/// keeps requesting the tail, so that the reported lag stays current.
async fn room(slot: &Slot, tail_at: &mut Instant) -> usize {
    let most = slot.shared.options.fetch_events;
    if let Some(room) = slot.room_now() {
        return room.min(most);
    }
    let runtime = &slot.shared.runtime;
    let mut room = Box::pin(slot.room());
    loop {
        match select(room, runtime.sleep_until(*tail_at)).await {
            Either::Left((room, _)) => return room.min(most),
            Either::Right((_, waiting)) => {
                room = waiting;
                *tail_at = runtime.now() + TAIL_EVERY;
                ask_tail(slot).await;
            }
        }
    }
}

async fn ask_tail(slot: &Slot) {
    // Ignore a failure: reads report their own, and the lag keeps its last value.
    if let Ok(tail) = slot.shared.member.log.tail(&slot.origin.partition).await {
        slot.tail_asked(tail, slot.shared.runtime.now());
    }
}

/// Opens a reader where the last one stopped; `None` if everything is read.
async fn open(slot: &Slot) -> aqueduct_core::Result<Option<Box<dyn PartitionReader>>> {
    match slot.resume() {
        None => Ok(None),
        Some(request) => slot.shared.member.log.open(&request).await.map(Some),
    }
}

/// Waits for the next try after a failed read; returns how many failed in a row.
async fn wait(slot: &Slot, error: &Error) -> u32 {
    let shared = &slot.shared;
    let failures = slot.read_failed(error, shared.runtime.now());
    tracing::warn!(key = %shared.member.key, partition = %slot.origin.partition, failures, %error, "not read, trying again");
    metrics::counter!("aqueduct_group_read_failures_total", "kind" => error.kind().as_str())
        .increment(1);
    let pause = match error.retry() {
        Retry::After(pause) => pause,
        _ => BACKOFF.delay(failures, &shared.runtime) + Duration::from_millis(10),
    };
    shared.runtime.sleep(pause).await;
    failures
}

impl Slot {
    pub(super) fn request(&self, from: aqueduct_core::ReadFrom) -> OpenPartition {
        let group = self.assignment.group.clone();
        let mut request = OpenPartition::new(group, self.origin.partition.clone(), from);
        request.generation = self.assignment.generation;
        request.max_bytes = self.shared.options.fetch_bytes;
        request
    }
}

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backoff, Checkpoint, Error, ErrorKind, Instant, OpenPartition, PartitionReader, Retry,
};

use super::slot::Slot;

/// Between two questions for the tail of a partition whose reads do not tell it.
const TAIL_EVERY: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// Attends an open partition from the first hook to the last.
pub(super) async fn attend(slot: Arc<Slot>, previous: Option<Arc<Slot>>) {
    if let Some(previous) = previous {
        previous.stopping.finished().await;
    }
    let rebalance_listener = slot.shared.options.rebalance_listener.clone();
    if let Some(rebalance_listener) = &rebalance_listener {
        rebalance_listener
            .assigned(&slot.assignment, &slot.start)
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
    slot.shared.wake.notify(usize::MAX);
}

async fn read_on(slot: &Slot) {
    let shared = &slot.shared;
    let mut reader: Option<Box<dyn PartitionReader>> = None;
    let mut failures = 0;
    let mut tail_at = Instant::default();
    if slot.start == Checkpoint::End {
        return slot.reader_ended(Vec::new());
    }
    loop {
        let room = slot.room().await.min(shared.options.fetch_events);
        let answer = match reader.as_mut() {
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
        match answer {
            Ok(batch) => {
                failures = 0;
                let now = shared.runtime.now();
                let asked = batch.tail.is_some() || now < tail_at;
                slot.fetched(batch.records, batch.tail, now);
                if let Some(end) = batch.end {
                    return slot.reader_ended(end.children);
                }
                if !asked {
                    tail_at = now + TAIL_EVERY;
                    if let Ok(tail) = shared.log.tail(&slot.partition).await {
                        slot.fetched(Vec::new(), Some(tail), now);
                    }
                }
            }
            Err(error) if error.is(ErrorKind::PositionExpired) || error.is(ErrorKind::NotFound) => {
                reader = None;
                match slot.cross_gap(&error).await {
                    Ok(Some(opened)) => reader = Some(opened),
                    Ok(None) => return,
                    Err(error) => wait(slot, &error, &mut failures).await,
                }
            }
            Err(error) => {
                wait(slot, &error, &mut failures).await;
                if failures > 2 || !error.is_retryable() {
                    reader = None;
                }
            }
        }
    }
}

/// Opens where the last reader stopped; `None` where everything is read.
async fn open(slot: &Slot) -> aqueduct_core::Result<Option<Box<dyn PartitionReader>>> {
    match slot.read_from() {
        None => Ok(None),
        Some(from) => {
            let request = slot.request(from);
            slot.shared.log.open(&request).await.map(Some)
        }
    }
}

async fn wait(slot: &Slot, error: &Error, failures: &mut u32) {
    *failures += 1;
    let shared = &slot.shared;
    tracing::warn!(partition = %slot.partition, %error, "not read, trying again");
    metrics::counter!("aqueduct_group_read_failures_total", "kind" => error.kind().as_str())
        .increment(1);
    let pause = match error.retry() {
        Retry::After(pause) => pause,
        _ => BACKOFF.delay(*failures, &shared.runtime) + Duration::from_millis(10),
    };
    shared.runtime.sleep(pause).await;
}

impl Slot {
    pub(super) fn request(&self, from: aqueduct_core::ReadFrom) -> OpenPartition {
        let group = self.assignment.group.clone();
        let mut request = OpenPartition::new(group, self.partition.clone(), from);
        request.generation = self.assignment.generation;
        request.max_bytes = self.shared.options.fetch_bytes;
        request
    }
}

use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{DeadLetterId, Error, ErrorKind, Result, Runtime, SmallStr};

use super::stored::{Place, Stored};
use crate::ids;
use crate::queue::{BATCH, Queue, Receipt};

/// How long a scan hides dead letters from other consumers: reading 1,000 takes some seconds.
const HIDDEN: Duration = Duration::from_secs(300);

/// How long a receive waits. Long polling asks all servers of the queue, so an empty response means
/// that the queue is empty.
const WAIT: Duration = Duration::from_secs(1);

/// The most dead letters of one scan: what 2,000 requests return while the first stay hidden. The
/// service itself lets 120,000 messages be in flight.
const MOST: usize = 20_000;

/// The dead letters received by one scan. Dropping it makes them visible again, also when the scan
/// is cancelled.
pub(super) struct Scan {
    queue: Queue,
    runtime: Runtime,
    found: BTreeMap<SmallStr, Stored>,
    /// Further copies of a dead letter that was stored twice, by the message id of the first.
    copies: BTreeMap<SmallStr, Vec<Stored>>,
}

impl Scan {
    pub(super) fn new(queue: &Queue, runtime: &Runtime) -> Self {
        Self {
            queue: queue.clone(),
            runtime: runtime.clone(),
            found: BTreeMap::new(),
            copies: BTreeMap::new(),
        }
    }

    pub(super) fn found(&self) -> &BTreeMap<SmallStr, Stored> {
        &self.found
    }

    /// Receives dead letters until the wanted messages are found, or all of them if `wanted` is `None`.
    pub(super) async fn look_for(&mut self, wanted: Option<&Vec<SmallStr>>) -> Result<()> {
        let source: SmallStr = format!("sqs://{}", self.queue.name).into();
        loop {
            let receipt = Receipt {
                max: BATCH,
                wait: WAIT,
                visibility: HIDDEN,
                attempt: Some(ids::random(&self.runtime)),
            };
            let messages = self.queue.receive(receipt).await?;
            let mut new = false;
            for message in messages {
                if let Some(stored) = Stored::read(message, &source) {
                    let place = stored.place.message.clone();
                    let copy = self.copies.values_mut().flatten();
                    match copy.into_iter().find(|copy| copy.place.message == place) {
                        Some(copy) => copy.handle = stored.handle,
                        None => new |= self.found.insert(place, stored).is_none(),
                    }
                }
            }
            self.set_copies_aside();
            let all = wanted.is_some_and(|it| it.iter().all(|id| self.found.contains_key(id)));
            if !new || all {
                return Ok(());
            }
            if self.found.len() >= MOST {
                return Err(Error::new(
                    ErrorKind::Full,
                    format!(
                        "queue {}: more than {MOST} dead letters cannot be listed; redrive or purge \
                         some, or move them with the service's own redrive",
                        self.queue.name
                    ),
                ));
            }
        }
    }

    /// Deletes those messages; returns one outcome for each, in order.
    pub(super) async fn delete(&mut self, messages: &[SmallStr]) -> Vec<Result<()>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for batch in messages.chunks(BATCH) {
            let copies: Vec<SmallStr> = batch
                .iter()
                .filter_map(|id| self.copies.remove(id))
                .flatten()
                .map(|copy| copy.handle)
                .collect();
            // Copies first: if this is interrupted, the dead letter itself is still listed.
            for copies in copies.chunks(BATCH) {
                for outcome in self.queue.delete(copies).await {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "cannot delete a copy of a dead letter that was stored twice");
                    }
                }
            }
            let handles: Vec<SmallStr> = batch
                .iter()
                .filter_map(|id| Some(self.found.get(id)?.handle.clone()))
                .collect();
            outcomes.extend(self.queue.delete(&handles).await);
            for id in batch {
                self.found.remove(id);
            }
        }
        outcomes
    }

    /// Makes the remaining dead letters visible to others again.
    pub(super) async fn give_back(mut self) {
        let found = self.take_all();
        give_back(&self.queue, found).await;
    }

    fn take_all(&mut self) -> Vec<Stored> {
        let copies = std::mem::take(&mut self.copies).into_values().flatten();
        let found = std::mem::take(&mut self.found).into_values();
        found.chain(copies).collect()
    }

    /// Keeps the first of each dead letter that was stored twice, and moves the others to `copies`.
    fn set_copies_aside(&mut self) {
        let mut firsts: BTreeMap<DeadLetterId, Place> = BTreeMap::new();
        for stored in self.found.values() {
            if let Some(same) = &stored.same {
                let first = firsts.entry(same.clone()).or_insert(stored.place.clone());
                if stored.place < *first {
                    *first = stored.place.clone();
                }
            }
        }
        let is_copy = |stored: &Stored| {
            let first = firsts.get(stored.same.as_ref()?)?;
            (*first != stored.place).then(|| first.message.clone())
        };
        let copies: Vec<(SmallStr, SmallStr)> = self
            .found
            .iter()
            .filter_map(|(message, stored)| Some((message.clone(), is_copy(stored)?)))
            .collect();
        for (message, first) in copies {
            // A message that was first until now takes its own copies along.
            let mut moved = self.copies.remove(&message).unwrap_or_default();
            moved.extend(self.found.remove(&message));
            self.copies.entry(first).or_default().extend(moved);
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        let found = self.take_all();
        if !found.is_empty() {
            let queue = self.queue.clone();
            let giving = async move { give_back(&queue, found).await };
            self.runtime.spawn(giving).detach();
        }
    }
}

async fn give_back(queue: &Queue, found: Vec<Stored>) {
    let handles: Vec<(SmallStr, Duration)> = found
        .into_iter()
        .map(|stored| (stored.handle, Duration::ZERO))
        .collect();
    for batch in handles.chunks(BATCH) {
        for outcome in queue.hide(batch).await {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a dead letter stays hidden for up to 5 minutes");
            }
        }
    }
}

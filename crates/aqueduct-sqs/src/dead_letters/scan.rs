use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{DeadLetterId, Error, ErrorKind, Result, Runtime, SmallStr};

use super::stored::{Place, Stored};
use crate::ids;
use crate::queue::{BATCH, Queue, Receipt};

/// How long dead letters are hidden from others while somebody looks: a thousand take some seconds.
const HIDDEN: Duration = Duration::from_secs(300);

/// How long the queue is asked for more. A request that waits asks all of its servers, so that an
/// empty answer says that nothing is left.
const WAIT: Duration = Duration::from_secs(1);

/// The most dead letters that are looked through; the service lets nobody hold more of a FIFO queue.
const MOST: usize = 20_000;

/// Dead letters that are taken out to be looked at. They go back in the end, also where that is
/// cancelled.
pub(super) struct Scan {
    queue: Queue,
    runtime: Runtime,
    found: BTreeMap<SmallStr, Stored>,
    /// Of one that was found, buried twice.
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

    /// Takes out dead letters until those messages are found; all there are, where none are named.
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
                        "queue {}: more than {MOST} dead letters cannot be looked through; redrive or \
                         purge some, or move them by the service's own redrive",
                        self.queue.name
                    ),
                ));
            }
        }
    }

    /// Deletes those messages; each answer stands under its index.
    pub(super) async fn delete(&mut self, messages: &[SmallStr]) -> Vec<Result<()>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for batch in messages.chunks(BATCH) {
            let copies: Vec<SmallStr> = batch
                .iter()
                .filter_map(|id| self.copies.remove(id))
                .flatten()
                .map(|copy| copy.handle)
                .collect();
            // Before the dead letter itself, so that none is left where this is cut short.
            for copies in copies.chunks(BATCH) {
                for outcome in self.queue.delete(copies).await {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "a dead letter that was buried twice is left once");
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

    /// Lets others see again what is left.
    pub(super) async fn give_back(mut self) {
        let found = self.take_all();
        give_back(&self.queue, found).await;
    }

    fn take_all(&mut self) -> Vec<Stored> {
        let copies = std::mem::take(&mut self.copies).into_values().flatten();
        let found = std::mem::take(&mut self.found).into_values();
        found.chain(copies).collect()
    }

    /// Of dead letters that were buried twice, the first stays.
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
            // What was a first until now brings its own copies along.
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
                tracing::debug!(%error, "a dead letter stays hidden for some minutes");
            }
        }
    }
}

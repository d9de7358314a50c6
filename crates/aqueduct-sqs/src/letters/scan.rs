use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Result, Runtime, Text};

use super::stored::Stored;
use crate::ids;
use crate::queue::{BATCH, Queue, Receipt};

/// How long letters are hidden from others while somebody looks: a thousand take some seconds.
const HIDDEN: Duration = Duration::from_secs(300);

/// How long the queue is asked for more. A request that waits asks all of its servers, so that an
/// empty answer says that nothing is left.
const WAIT: Duration = Duration::from_secs(1);

/// The most letters that are looked through; the service lets nobody hold more of a FIFO queue.
const MOST: usize = 20_000;

/// Letters that are taken out to be looked at. They go back in the end, also where that is
/// cancelled.
pub(super) struct Scan {
    queue: Queue,
    runtime: Runtime,
    found: BTreeMap<Text, Stored>,
}

impl Scan {
    pub(super) fn new(queue: &Queue, runtime: &Runtime) -> Self {
        Self {
            queue: queue.clone(),
            runtime: runtime.clone(),
            found: BTreeMap::new(),
        }
    }

    pub(super) fn found(&self) -> &BTreeMap<Text, Stored> {
        &self.found
    }

    /// Takes out letters until those messages are found; all there are, where none are named.
    pub(super) async fn look_for(&mut self, wanted: Option<&[Text]>) -> Result<()> {
        let source: Text = format!("sqs://{}", self.queue.name).into();
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
                    new |= self.found.insert(place, stored).is_none();
                }
            }
            let all = wanted.is_some_and(|it| it.iter().all(|id| self.found.contains_key(id)));
            if !new || all {
                return Ok(());
            }
            if self.found.len() >= MOST {
                return Err(Error::new(
                    ErrorKind::Full,
                    format!(
                        "queue {}: more than {MOST} letters cannot be looked through; redrive or \
                         purge some, or move them by the service's own redrive",
                        self.queue.name
                    ),
                ));
            }
        }
    }

    /// Deletes those messages; each answer stands under its index.
    pub(super) async fn delete(&mut self, messages: &[Text]) -> Vec<Result<()>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for batch in messages.chunks(BATCH) {
            let handles: Vec<Text> = batch
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
        let found = std::mem::take(&mut self.found);
        give_back(&self.queue, found).await;
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        let found = std::mem::take(&mut self.found);
        if !found.is_empty() {
            let queue = self.queue.clone();
            let giving = async move { give_back(&queue, found).await };
            self.runtime.spawn(giving).detach();
        }
    }
}

async fn give_back(queue: &Queue, found: BTreeMap<Text, Stored>) {
    let handles: Vec<(Text, Duration)> = found
        .into_values()
        .map(|stored| (stored.handle, Duration::ZERO))
        .collect();
    for batch in handles.chunks(BATCH) {
        for outcome in queue.hide(batch).await {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a letter stays hidden for some minutes");
            }
        }
    }
}

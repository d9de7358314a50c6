//! Stores dead letters in a queue. The README lists the limits.

mod encode;
mod keys;
mod scan;
mod stored;

use aqueduct_core::outcomes::no_outcome;
use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterStore, GroupName, Result,
    Runtime, SmallStr, StoredDeadLetter, StreamName,
};
use aqueduct_queue::dead_letters::ScanningStore;
use async_trait::async_trait;

use self::scan::Letters;
use crate::ids;
use crate::queue::{BATCH, BATCH_BYTES, Outgoing, Queue};

/// The dead letters of one queue.
pub(crate) struct SqsDeadLetters {
    queue: Queue,
    scanned: ScanningStore<Letters>,
    largest: usize,
    runtime: Runtime,
}

impl SqsDeadLetters {
    pub(crate) fn new(queue: Queue, largest: usize, runtime: &Runtime) -> Self {
        let letters = Letters {
            queue: queue.clone(),
            runtime: runtime.clone(),
        };
        Self {
            queue,
            scanned: ScanningStore::new(letters, runtime),
            largest,
            runtime: runtime.clone(),
        }
    }

    async fn message(&self, dead_letter: &DeadLetter) -> Result<Outgoing> {
        let encoded = encode::encode(dead_letter, self.largest, self.scanned.next_order())?;
        if let (true, Some(key)) = (dead_letter.holds_key, dead_letter.event.key()) {
            let (name, value) = keys::tag_of(&dead_letter.group, &dead_letter.stream, key)?;
            let tagged = self.queue.tag(&name, &value).await;
            tagged.map_err(|error| {
                error.context("a queue can hold at most 50 diverted keys, one tag each")
            })?;
        }
        // A message group per dead letter, so that none locks another, and a fresh deduplication id:
        // an event that fails again after its redrive produces an equal dead letter.
        let id = || self.queue.fifo.then(|| ids::random(&self.runtime));
        Ok(Outgoing {
            encoded,
            group: id(),
            dedup: id(),
            delay: None,
        })
    }
}

#[async_trait]
impl DeadLetterQueue for SqsDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        let mut outcomes: Vec<Result<()>> = Vec::with_capacity(dead_letters.len());
        let mut request: Vec<Outgoing> = Vec::new();
        let mut places = Vec::new();
        let mut bytes = 0;
        for (at, dead_letter) in dead_letters.iter().enumerate() {
            outcomes.push(Err(no_outcome()));
            let message = match self.message(dead_letter).await {
                Ok(message) => message,
                Err(error) => {
                    outcomes[at] = Err(error);
                    continue;
                }
            };
            let size = message.encoded.size();
            if request.len() == BATCH || bytes + size > BATCH_BYTES {
                let sent = self.queue.send(std::mem::take(&mut request)).await;
                for (at, outcome) in std::mem::take(&mut places).into_iter().zip(sent) {
                    outcomes[at] = outcome;
                }
                bytes = 0;
            }
            bytes += size;
            request.push(message);
            places.push(at);
        }
        if !request.is_empty() {
            let sent = self.queue.send(request).await;
            for (at, outcome) in places.into_iter().zip(sent) {
                outcomes[at] = outcome;
            }
        }
        outcomes
    }
}

#[async_trait]
impl DeadLetterStore for SqsDeadLetters {
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        self.scanned.list(query).await
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        self.scanned.show(ids).await
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        self.scanned.purge(ids).await
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>> {
        let tags = self.queue.tags().await?;
        let mut held: Vec<SmallStr> = tags
            .iter()
            .filter_map(|(name, value)| keys::key_of(name, value, group, stream))
            .collect();
        held.sort();
        Ok(held)
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        self.queue.untag(&keys::name_of(group, stream, key)).await
    }
}

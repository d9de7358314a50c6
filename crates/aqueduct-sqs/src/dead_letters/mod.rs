//! Stores dead letters in a queue. The README lists the limits.

mod encode;
mod keys;
mod scan;
mod stored;

use std::sync::{Mutex, PoisonError};

use aqueduct_core::outcomes::no_outcome;
use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterStore, Error, ErrorKind,
    GroupName, Result, Runtime, SmallStr, StoredDeadLetter, StreamName,
};
use async_trait::async_trait;

use self::scan::Scan;
use self::stored::{Place, Stored};
use crate::ids;
use crate::queue::{BATCH, BATCH_BYTES, Outgoing, Queue};

/// The dead letters of one queue.
pub(crate) struct SqsDeadLetters {
    queue: Queue,
    largest: usize,
    runtime: Runtime,
    /// The order of the last dead letter of this process, in microseconds of the wall clock.
    order: Mutex<u64>,
    /// Held during a scan: two scans at once would hide dead letters from each other.
    looking: futures::lock::Mutex<()>,
}

impl SqsDeadLetters {
    pub(crate) fn new(queue: Queue, largest: usize, runtime: &Runtime) -> Self {
        Self {
            queue,
            largest,
            runtime: runtime.clone(),
            order: Mutex::new(0),
            looking: futures::lock::Mutex::new(()),
        }
    }

    /// Returns the wall clock in microseconds, or one more than the last value if that is later.
    fn next_order(&self) -> u64 {
        let wall = u64::try_from(self.runtime.wall().as_millis()).unwrap_or_default();
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        *order = (*order + 1).max(wall * 1000);
        *order
    }

    async fn message(&self, dead_letter: &DeadLetter) -> Result<Outgoing> {
        let encoded = encode::encode(dead_letter, self.largest, self.next_order())?;
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

    /// Scans for the dead letters of those ids. With `every`, scans the whole queue, so that all
    /// copies of a dead letter that was stored twice are found.
    async fn find(&self, ids: &[DeadLetterId], every: bool) -> Result<(Scan, Vec<Option<Stored>>)> {
        let wanted: Vec<Option<SmallStr>> = ids.iter().map(stored::message_of).collect();
        let all: Vec<SmallStr> = wanted.iter().flatten().cloned().collect();
        let mut scan = Scan::new(&self.queue, &self.runtime);
        if !all.is_empty() {
            scan.look_for((!every).then_some(&all)).await?;
        }
        let found = ids.iter().zip(wanted).map(|(id, message)| {
            let stored = scan.found().get(&message?)?;
            (stored.id() == *id).then(|| stored.clone())
        });
        let found = found.collect();
        Ok((scan, found))
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
        let after = match &query.after {
            None => None,
            Some(id) => Some(Place::of(id).ok_or_else(|| {
                let what = format!("dead letter {id}: malformed id (expected ORDER.MESSAGE)");
                Error::new(ErrorKind::Invalid, what)
            })?),
        };
        let _looking = self.looking.lock().await;
        let mut scan = Scan::new(&self.queue, &self.runtime);
        let looked = scan.look_for(None).await;
        let mut matching: Vec<&Stored> = scan
            .found()
            .values()
            .filter(|stored| after.as_ref().is_none_or(|after| stored.place > *after))
            .filter(|stored| query.matches(&stored.dead_letter))
            .collect();
        matching.sort_by(|a, b| a.place.cmp(&b.place));
        let page = matching.into_iter().take(query.limit);
        let page = page.cloned().map(Stored::into_stored).collect();
        scan.give_back().await;
        looked.map(|()| page)
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        let _looking = self.looking.lock().await;
        let (scan, found) = match self.find(ids, false).await {
            Ok(found) => found,
            Err(error) => return vec![Err(error); ids.len()],
        };
        scan.give_back().await;
        let one = |(id, stored): (&DeadLetterId, Option<Stored>)| match stored {
            Some(stored) => Ok(stored.into_stored()),
            None => Err(not_found(id)),
        };
        ids.iter().zip(found).map(one).collect()
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        let _looking = self.looking.lock().await;
        let (mut scan, found) = match self.find(ids, true).await {
            Ok(found) => found,
            Err(error) => return vec![Err(error); ids.len()],
        };
        let messages = found.iter().flatten();
        let messages: Vec<SmallStr> = messages.map(|it| it.place.message.clone()).collect();
        let mut removed = scan.delete(&messages).await.into_iter();
        let outcomes = ids.iter().zip(&found).map(|(id, stored)| match stored {
            Some(_) => removed.next().unwrap_or_else(|| Err(no_outcome())),
            None => Err(not_found(id)),
        });
        let outcomes = outcomes.collect();
        scan.give_back().await;
        outcomes
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

fn not_found(id: &DeadLetterId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "dead letter {id} not found: it was removed, or another process is scanning the queue"
        ),
    )
}

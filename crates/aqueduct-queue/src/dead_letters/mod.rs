//! Dead letters in a queue service, whose messages can only be received: a listing receives all of them,
//! which hides them from others, and gives them back.

mod found;
mod place;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use aqueduct_core::outcomes::no_outcome;
use aqueduct_core::{
    DeadLetterId, DeadLetterQuery, Error, ErrorKind, Result, Runtime, SmallStr, StoredDeadLetter,
};
use async_trait::async_trait;

use self::found::Found;
pub use self::place::{Place, Scanned};

/// A queue or topic that holds dead letters.
#[async_trait]
pub trait ScannedQueue: Send + Sync {
    /// One scan of it.
    type Scan: Scan;

    /// The most dead letters of one scan, which are all in memory.
    const MOST: usize;

    /// Names it for errors: `queue orders-dead`.
    fn describe(&self) -> String;

    /// Begins a scan.
    async fn scan(&self) -> Result<Self::Scan>;
}

/// A scan: what it receives is hidden from others until it is deleted or given back.
#[async_trait]
pub trait Scan: Send {
    /// Deletes a message, or gives it back.
    type Handle: Send;

    /// Receives further messages; none at the end. A message may come again, with a new handle.
    async fn receive(&mut self) -> Result<Vec<Scanned<Self::Handle>>>;

    /// Deletes messages; returns one outcome for each, in order.
    async fn delete(&mut self, handles: Vec<Self::Handle>) -> Vec<Result<()>>;

    /// Gives messages back, and ends.
    async fn end(self, handles: Vec<Self::Handle>);

    /// Gives the messages of a scan that was cancelled back, without waiting.
    fn abandon(self, handles: Vec<Self::Handle>);
}

/// Lists, shows and purges the dead letters of a queue: the part of a
/// [`DeadLetterStore`](aqueduct_core::DeadLetterStore) that is the same for all queue services.
#[derive(Debug)]
pub struct ScanningStore<Q> {
    queue: Q,
    runtime: Runtime,
    /// The order of the last dead letter of this process, in microseconds of the wall clock.
    order: Mutex<u64>,
    /// Held during a scan: two scans at once would hide dead letters from each other.
    looking: futures::lock::Mutex<()>,
}

impl<Q: ScannedQueue> ScanningStore<Q> {
    /// Creates a store over `queue`.
    pub fn new(queue: Q, runtime: &Runtime) -> Self {
        Self {
            queue,
            runtime: runtime.clone(),
            order: Mutex::new(0),
            looking: futures::lock::Mutex::new(()),
        }
    }

    /// Returns the queue.
    pub fn queue(&self) -> &Q {
        &self.queue
    }

    /// Returns the order of a dead letter that is stored now: the wall clock in microseconds, or one more
    /// than the last value if that is later.
    pub fn next_order(&self) -> u64 {
        let wall = u64::try_from(self.runtime.wall().as_millis()).unwrap_or_default();
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        *order = (*order + 1).max(wall * 1000);
        *order
    }

    /// Returns a page of the dead letters that match `query`, in the order of their places.
    ///
    /// # Errors
    /// `Invalid` for a malformed `after`; `Full` if there are too many; any error of the queue.
    pub async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        let after = match &query.after {
            None => None,
            Some(id) => Some(Place::of(id).ok_or_else(|| {
                let what = format!("dead letter {id}: malformed id (expected ORDER.MESSAGE)");
                Error::new(ErrorKind::Invalid, what)
            })?),
        };
        let _looking = self.looking.lock().await;
        let found = self.look_for(None).await?;
        let mut matching: Vec<_> = found
            .iter()
            .filter(|it| after.as_ref().is_none_or(|after| it.place > *after))
            .filter(|it| query.matches(&it.dead_letter))
            .collect();
        matching.sort_by(|a, b| a.place.cmp(&b.place));
        let page = matching.into_iter().take(query.limit);
        let page = page.map(Scanned::to_dead_letter).collect();
        found.end().await;
        Ok(page)
    }

    /// Returns the dead letters of those ids, one outcome for each, in order.
    pub async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        let _looking = self.looking.lock().await;
        let wanted = messages_of(ids);
        let found = match self.look_for(Some(&wanted)).await {
            Ok(found) => found,
            Err(error) => return vec![Err(error); ids.len()],
        };
        let one = |id| match found.get(id) {
            Some(scanned) => Ok(scanned.to_dead_letter()),
            None => Err(self.not_found(id)),
        };
        let shown = ids.iter().map(one).collect();
        found.end().await;
        shown
    }

    /// Deletes the dead letters of those ids with all their copies, one outcome for each, in order.
    pub async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        let _looking = self.looking.lock().await;
        // A malformed id names nothing: without another one the queue is left alone.
        let every = match messages_of(ids).is_empty() {
            true => Some(&[][..]),
            false => None,
        };
        let mut found = match self.look_for(every).await {
            Ok(found) => found,
            Err(error) => return vec![Err(error); ids.len()],
        };
        let known: Vec<Option<SmallStr>> = ids
            .iter()
            .map(|id| Some(found.get(id)?.place.message.clone()))
            .collect();
        let messages: Vec<SmallStr> = known.iter().flatten().cloned().collect();
        let mut removed = found.delete(&messages).await.into_iter();
        let outcomes = ids.iter().zip(known).map(|(id, known)| match known {
            Some(_) => removed.next().unwrap_or_else(|| Err(no_outcome())),
            None => Err(self.not_found(id)),
        });
        let outcomes = outcomes.collect();
        found.end().await;
        outcomes
    }

    /// Receives dead letters until the wanted messages are found, or all of them if `wanted` is `None`, so
    /// that every copy of one that was stored twice is found.
    async fn look_for(&self, wanted: Option<&[SmallStr]>) -> Result<Found<Q::Scan>> {
        let mut found = Found::new(self.queue.scan().await?);
        let looked = found.look_for(wanted, Q::MOST).await;
        match looked {
            Ok(true) => Ok(found),
            Ok(false) => {
                found.end().await;
                Err(Error::new(
                    ErrorKind::Full,
                    format!(
                        "{}: more than {} dead letters cannot be listed; redrive or purge some by the \
                         service's own means",
                        self.queue.describe(),
                        Q::MOST
                    ),
                ))
            }
            Err(error) => {
                found.end().await;
                Err(error)
            }
        }
    }

    fn not_found(&self, id: &DeadLetterId) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "dead letter {id} not found: it was removed, or another process is scanning {}",
                self.queue.describe()
            ),
        )
    }
}

fn messages_of(ids: &[DeadLetterId]) -> Vec<SmallStr> {
    let places = ids.iter().filter_map(Place::of);
    places.map(|place| place.message).collect()
}

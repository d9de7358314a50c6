use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aqueduct_core::{Event, EventClaim, EventId, IdempotencyScope, Result, SmallStr, StreamName};
use rusqlite::Transaction;

use crate::idempotency::Completed;
use crate::store::SqliteStore;

impl SqliteStore {
    /// Handles an event exactly once in this file. What `work` writes, the record that the event was
    /// handled, and the events that `work` returns for other streams are one transaction: all of it
    /// is stored, or nothing.
    ///
    /// `completion` is the argument of the same name of a handler, or a scope and a claim. An event
    /// that was handled before does not call `work`, and returns [`Completed::Already`]. Make the
    /// returned events with [`Event::caused_by`], so that they have the same ids whenever they are
    /// made again; each needs a source. `work` runs on the writer's thread, as
    /// [`transaction`](Self::transaction) says.
    ///
    /// ```no_run
    /// use aqueduct_core::{Event, EventClaim, IdempotencyScope, Result};
    /// use aqueduct_sqlite::{SqlResultExt as _, SqliteStore};
    ///
    /// async fn charge(
    ///     store: &SqliteStore,
    ///     completion: (IdempotencyScope, EventClaim),
    ///     order: Event,
    /// ) -> Result<()> {
    ///     let handled = store.handle_once(completion, move |tx| {
    ///         tx.execute("INSERT INTO charge (amount) VALUES (950)", []).sql("charge an order")?;
    ///         let paid = Event::json("order.paid", &950)?.with_source("/billing").caused_by(&order, 0);
    ///         Ok(vec![("payments".into(), paid)])
    ///     });
    ///     handled.await.map(drop)
    /// }
    /// ```
    ///
    /// # Errors
    /// The error of `work`; `Conflict` if a newer claim took the event over; the errors of
    /// [`publish_in`](Self::publish_in) and [`transaction`](Self::transaction). Nothing is stored then,
    /// unless the effect is `Unknown`.
    pub async fn handle_once(
        &self,
        completion: impl Into<(IdempotencyScope, EventClaim)>,
        work: impl FnOnce(&Transaction<'_>) -> Result<Vec<(StreamName, Event)>> + Send + 'static,
    ) -> Result<Completed> {
        let (scope, claim) = completion.into();
        let store = self.clone();
        let recorded = (scope.clone(), claim.clone());
        let handled = self.0.writer.run(false, move |tx| {
            // The record comes first: an event that was handled before must not take effect again.
            if store.complete_in(tx, &scope, &claim)? == Completed::Already {
                return Ok(Completed::Already);
            }
            let outgoing = work(tx)?;
            for same in outgoing.chunk_by(|(one, _), (next, _)| one == next) {
                let events: Vec<Event> = same.iter().map(|(_, event)| event.clone()).collect();
                store.publish_with_commit(tx, &same[0].0, &events)?;
            }
            Ok(Completed::Now)
        });
        let handled = handled.await;
        self.0.outbox.wake();
        let completion = handled?;
        self.0.handled.note(&recorded.0, &recorded.1);
        Ok(completion)
    }
}

/// The events that a transaction of this process has recorded as handled, and whose delivery is not
/// settled yet: its settlement need not write the record again.
#[derive(Default)]
pub(crate) struct Handled(Mutex<BTreeSet<Key>>);

/// The group, the handler set and the replay, and the source and the id of the event.
type Key = (SmallStr, SmallStr, u64, SmallStr, EventId);

/// Far more than a process handles at once. Those of deliveries that were never settled stay until then.
const MOST: usize = 65_536;

impl Handled {
    fn note(&self, scope: &IdempotencyScope, claim: &EventClaim) {
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key(scope, claim));
    }

    /// Returns whether each claim is recorded, and forgets those that are.
    pub(crate) fn take(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<bool> {
        let mut known = self.lock();
        let each = claims.iter().map(|claim| known.remove(&key(scope, claim)));
        each.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(scope: &IdempotencyScope, claim: &EventClaim) -> Key {
    (
        scope.group.text().clone(),
        scope.handlers.clone(),
        scope.replay,
        claim.source.clone(),
        claim.id.clone(),
    )
}

use aqueduct_core::{Event, EventClaim, IdempotencyScope, Result, StreamName};
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
        self.transaction(move |tx| {
            // The record comes first: an event that was handled before must not take effect again.
            if store.complete_in(tx, &scope, &claim)? == Completed::Already {
                return Ok(Completed::Already);
            }
            let outgoing = work(tx)?;
            for same in outgoing.chunk_by(|(one, _), (next, _)| one == next) {
                let events: Vec<Event> = same.iter().map(|(_, event)| event.clone()).collect();
                store.publish_in(tx, &same[0].0, &events)?;
            }
            Ok(Completed::Now)
        })
        .await
    }
}

pub(crate) mod management;
pub(crate) mod payment;
pub(crate) mod placement;
pub(crate) mod shipping;

use aqueduct::{Completion, Event, Result, StreamName};
use aqueduct_sqlite::{Completion as Completed, SqliteStore};
use rusqlite::Transaction;

/// The resources that every role uses.
#[derive(Clone)]
pub(crate) struct Shop {
    /// The file of the roles' own tables, and of the streams if these are embedded.
    pub(crate) store: SqliteStore,
    pub(crate) credit_limit: rust_decimal::Decimal,
}

impl Shop {
    /// Handles one event in one transaction: the writes of `work`, the events that it returns, and the
    /// record that the event was handled. An event that was handled before changes nothing.
    pub(crate) async fn once(
        &self,
        completion: Completion,
        publish_to: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<Vec<Event>> + Send + 'static,
    ) -> Result<()> {
        let store = self.store.clone();
        self.store
            .transaction(move |tx| {
                match store.complete_in(tx, &completion.scope, &completion.claim)? {
                    Completed::Already => Ok(()),
                    Completed::Now => {
                        let events = work(tx)?;
                        store.publish_in(tx, &StreamName::new(publish_to), &events)
                    }
                }
            })
            .await
    }
}

pub(crate) mod management;
pub(crate) mod payment;
pub(crate) mod placement;
pub(crate) mod shipping;

use std::sync::Arc;

use aqueduct::{Completion, Event, Result, StreamName};
use aqueduct_sqlite::SqliteStore;
use rusqlite::Transaction;

/// The resources that every role uses.
#[derive(Clone)]
pub(crate) struct Shop {
    /// The file of the roles' own tables, and of the streams if these are embedded.
    pub(crate) store: SqliteStore,
    pub(crate) credit_limit: rust_decimal::Decimal,
    /// The streams that cannot be read without a group, as those of a queue service. If there are any,
    /// management notes the events of all streams for the audit.
    pub(crate) journal: Arc<[&'static str]>,
}

impl Shop {
    /// Handles one event once: the writes of `work`, the events that it returns and the record that
    /// the event was handled are one transaction.
    pub(crate) async fn once(
        &self,
        completion: Completion,
        publish_to: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<Vec<Event>> + Send + 'static,
    ) -> Result<()> {
        let to = StreamName::new(publish_to);
        let handled = self.store.handle_once(completion, move |tx| {
            let events = work(tx)?.into_iter();
            Ok(events.map(|event| (to.clone(), event)).collect())
        });
        handled.await.map(drop)
    }
}

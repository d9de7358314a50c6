use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqueduct_core::Result;
use tokio::sync::Mutex;

use crate::hub::Hub;
use crate::transport::Connection;

/// How many connections the links of a producer share. One carries what a processor encrypts; several
/// keep a lost one from stopping all links.
const CONNECTIONS: usize = 4;

/// The connections of a producer, opened when a link needs one.
pub(super) struct Connections {
    hub: Arc<Hub>,
    slots: [Mutex<Option<Arc<Connection>>>; CONNECTIONS],
    next: AtomicUsize,
}

impl Connections {
    pub(super) fn new(hub: &Arc<Hub>) -> Arc<Self> {
        Arc::new(Self {
            hub: hub.clone(),
            slots: Default::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// Returns the number of the connection for another link.
    pub(super) fn assign(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS
    }

    /// Returns a connection that is not known to be lost.
    pub(super) async fn get(&self, number: usize) -> Result<Arc<Connection>> {
        let mut slot = self.slots[number % CONNECTIONS].lock().await;
        if let Some(connection) = &*slot
            && !connection.is_closed().await
        {
            return Ok(connection.clone());
        }
        let connection = self.hub.connector.connect().await?;
        Ok(slot.insert(connection).clone())
    }

    /// Stops using a connection that did not respond.
    pub(super) async fn discard(&self, number: usize, silent: &Arc<Connection>) {
        let mut slot = self.slots[number % CONNECTIONS].lock().await;
        if slot.as_ref().is_some_and(|it| Arc::ptr_eq(it, silent)) {
            *slot = None;
        }
    }

    pub(super) async fn close(&self) {
        for slot in &self.slots {
            *slot.lock().await = None;
        }
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::{Effect, Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::connections::Connections;
use crate::hub::Hub;
use crate::transport::{Connection, SenderLink};

/// A link that is opened when it is needed, and made anew when it is lost.
pub(super) struct Link {
    hub: Arc<Hub>,
    address: String,
    connections: Arc<Connections>,
    /// Which of the connections carries it.
    connection: usize,
    /// Held while a batch is handed over, in the order of the calls.
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    open: Option<Open>,
    /// Counts the links, so that a late failure does not close the link after it.
    opened: u64,
}

struct Open {
    link: SenderLink,
    connection: Arc<Connection>,
}

impl Link {
    pub(super) fn new(hub: &Arc<Hub>, connections: &Arc<Connections>, address: String) -> Self {
        Self {
            hub: hub.clone(),
            address,
            connection: connections.assign(),
            connections: connections.clone(),
            slot: Mutex::default(),
        }
    }

    /// Opens the link. Returns the largest message that it takes, if the service says it.
    pub(super) async fn open(&self) -> Result<Option<usize>> {
        let limit = self.hub.connector.timing().request;
        let opening = async {
            let mut slot = self.slot.lock().await;
            let open = self.ensure(&mut slot).await?;
            // A service may refuse by closing the link that it has just opened.
            match open.link.lost() {
                Some(refused) => Err(refused.clone()),
                None => Ok(open.link.max_message_size()),
            }
        };
        let opened = self.hub.runtime().timeout(limit, &self.address, opening);
        opened
            .await?
            .map_err(|error: Error| error.with_effect(Effect::None))
    }

    /// Sends a batch and waits for its outcome: one attempt.
    pub(super) async fn send(&self, messages: Vec<Vec<u8>>, key: Option<&str>) -> Result<()> {
        let runtime = self.hub.runtime();
        let limit = self.hub.connector.timing().request;
        let what = format!("{} (link to {})", self.hub.shown, self.address);
        let may_be_sent = AtomicBool::new(false);
        let handing_over = async {
            let mut slot = self.slot.lock().await;
            let open = self.ensure(&mut slot).await?;
            may_be_sent.store(true, Ordering::Relaxed);
            let sent = open.link.send(messages, key).await;
            if sent
                .as_ref()
                .is_err_and(|error| !error.is(ErrorKind::TooLarge))
            {
                slot.open = None;
            }
            Ok((slot.opened, sent?))
        };
        let handed_over = runtime.timeout(limit, &what, handing_over).await;
        let (number, settled) = match handed_over {
            Ok(Ok(handed_over)) => handed_over,
            Ok(Err(error)) => return Err(error),
            Err(late) if may_be_sent.load(Ordering::Relaxed) => {
                self.give_up(None, true).await;
                return Err(late);
            }
            Err(late) => return Err(late.with_effect(Effect::None)),
        };
        let settled = runtime.timeout(limit, &what, settled).await;
        match settled {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                if error.effect() == Effect::Unknown {
                    self.give_up(Some(number), false).await;
                }
                Err(error)
            }
            Err(late) => {
                self.give_up(Some(number), true).await;
                Err(late)
            }
        }
    }

    pub(super) async fn close(&self) {
        self.slot.lock().await.open = None;
    }

    async fn ensure<'a>(&self, slot: &'a mut Slot) -> Result<&'a mut Open> {
        if slot
            .open
            .as_ref()
            .is_some_and(|open| open.link.lost().is_some())
        {
            slot.open = None;
        }
        if slot.open.is_none() {
            let connection = self.connections.get(self.connection).await?;
            let connector = &self.hub.connector;
            let link = SenderLink::open(connector, connection.clone(), &self.address).await?;
            slot.opened += 1;
            slot.open = Some(Open { link, connection });
        }
        slot.open
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a link that was opened is not there"))
    }

    /// Closes the link of that number, or any. One that did not respond takes its connection with it.
    async fn give_up(&self, number: Option<u64>, is_silent: bool) {
        let mut slot = self.slot.lock().await;
        if number.is_some_and(|number| number != slot.opened) {
            return;
        }
        if let Some(open) = slot.open.take()
            && is_silent
        {
            let connections = &self.connections;
            connections.discard(self.connection, &open.connection).await;
        }
    }
}

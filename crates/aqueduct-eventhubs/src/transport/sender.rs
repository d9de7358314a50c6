use std::sync::{Arc, OnceLock};

use aqueduct_core::{Effect, Error, Result, Task};
use fe2o3_amqp::Sender;
use fe2o3_amqp::link::delivery::Sendable;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::{Batch, Data, Message, MessageAnnotations, Outcome};
use fe2o3_amqp::types::primitives::Value;
use futures::future::{BoxFuture, Either, select};
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, Connector};
use crate::codec::PARTITION_KEY;
use crate::error;

/// The message format of a batch, whose data sections are messages.
const BATCH: u32 = 0x8001_3700;

/// A link that sends batches to a hub or to one of its partitions.
///
/// A task owns the link, because it must notice the loss of the link while nothing is sent: the client
/// library leaves deliveries that wait for their settlement pending until then.
pub(crate) struct SenderLink {
    handovers: mpsc::Sender<Handover>,
    lost: Arc<OnceLock<Error>>,
    max_message_size: Option<usize>,
    what: String,
    _driver: Task<()>,
}

/// The outcome of a batch, when the service has settled it.
pub(crate) type Settled = BoxFuture<'static, Result<()>>;

struct Handover {
    batch: Sendable<Batch<Data>>,
    on_its_way: oneshot::Sender<Result<Settled>>,
}

impl SenderLink {
    /// Opens a link to `address`: `HUB` or `HUB/Partitions/N`.
    pub(crate) async fn open(
        connector: &Connector,
        connection: Arc<Connection>,
        address: &str,
    ) -> Result<Self> {
        let what = format!("{} (link to {address})", connector.what());
        let mut session = connection.session().await?;
        let sender = Sender::builder()
            .name(connector.name("send"))
            .target(address)
            .sender_settle_mode(SenderSettleMode::Unsettled)
            .attach(&mut session)
            .await
            .map_err(|failed| error::attach_sender(&what, failed))?;
        let limit = sender.max_message_size();
        let (handovers, received) = mpsc::channel(1);
        let driver = Driver {
            sender,
            what: what.clone(),
            lost: Arc::default(),
            _session: session,
            _connection: connection,
        };
        Ok(Self {
            handovers,
            lost: driver.lost.clone(),
            max_message_size: limit.and_then(|limit| usize::try_from(limit).ok()),
            what,
            _driver: connector.runtime().spawn(driver.run(received)),
        })
    }

    /// Returns the largest message, if the service limits it.
    pub(crate) fn max_message_size(&self) -> Option<usize> {
        self.max_message_size
    }

    /// Returns the error with which the link was lost, if it was.
    pub(crate) fn lost(&self) -> Option<&Error> {
        self.lost.get()
    }

    /// Sends a batch of encoded messages. Completes when it is on its way, which may wait for credit;
    /// what it returns completes when the service has settled the batch.
    ///
    /// Batches are sent in the order of the calls, and several may be on their way.
    pub(crate) async fn send(&self, messages: Vec<Vec<u8>>, key: Option<&str>) -> Result<Settled> {
        let (on_its_way, handed_over) = oneshot::channel();
        let handover = Handover {
            batch: envelope(messages, key),
            on_its_way,
        };
        let gone = || match self.lost.get() {
            Some(error) => error.clone(),
            None => error::unavailable(&self.what, "the link was closed"),
        };
        if self.handovers.send(handover).await.is_err() {
            // The task never saw it.
            return Err(gone().with_effect(Effect::None));
        }
        match handed_over.await {
            Ok(sent) => sent,
            Err(_) => Err(gone().with_effect(Effect::Unknown)),
        }
    }
}

fn envelope(messages: Vec<Vec<u8>>, key: Option<&str>) -> Sendable<Batch<Data>> {
    let data: Batch<Data> = messages.into_iter().map(Data::from).collect();
    let annotations = key.map(|key| {
        MessageAnnotations::builder()
            .insert(PARTITION_KEY, Value::String(key.to_owned()))
            .build()
    });
    let message = Message::builder()
        .message_annotations(annotations)
        .body(data)
        .build();
    Sendable::builder()
        .message(message)
        .message_format(BATCH)
        .build()
}

/// Owns a link.
struct Driver {
    sender: Sender,
    what: String,
    lost: Arc<OnceLock<Error>>,
    _session: SessionHandle<()>,
    _connection: Arc<Connection>,
}

impl Driver {
    /// Sends what is handed over, until the link is lost or nobody can hand over any more. Dropping the
    /// link then fails the deliveries that are not settled.
    async fn run(mut self, mut handovers: mpsc::Receiver<Handover>) {
        loop {
            let next = {
                let detached = std::pin::pin!(self.sender.on_detach());
                let handover = std::pin::pin!(handovers.recv());
                match select(detached, handover).await {
                    Either::Left((reason, _)) => Err(reason),
                    Either::Right((next, _)) => Ok(next),
                }
            };
            match next {
                Err(reason) => return self.is_lost(error::detached(&self.what, reason)),
                Ok(None) => return,
                Ok(Some(handover)) => {
                    let sent = self.send(handover.batch).await;
                    let failure = sent.as_ref().err().cloned();
                    // A caller that has gone away leaves the outcome unknown.
                    let _ = handover.on_its_way.send(sent);
                    if let Some(error) = failure.filter(|it| it.effect() == Effect::Unknown) {
                        return self.is_lost(error);
                    }
                }
            }
        }
    }

    async fn send(&mut self, batch: Sendable<Batch<Data>>) -> Result<Settled> {
        let sent = self.sender.send_batchable(batch).await;
        let settled = sent.map_err(|failed| error::send(&self.what, failed))?;
        let (what, lost) = (self.what.clone(), self.lost.clone());
        Ok(Box::pin(async move {
            match settled.await {
                Ok(outcome) => judge(&what, outcome),
                Err(failed) => {
                    let failed = error::send(&what, failed);
                    // The reason of the loss says more than that there was one.
                    let reason = lost.get().cloned().unwrap_or(failed);
                    Err(reason.with_effect(Effect::Unknown))
                }
            }
        }))
    }

    fn is_lost(&self, error: Error) {
        // Set once: the task ends.
        let _ = self.lost.set(error.with_effect(Effect::None));
    }
}

/// Only an accepted batch is stored: the service takes it as a whole or not at all.
fn judge(what: &str, outcome: Outcome) -> Result<()> {
    let error = match outcome {
        Outcome::Accepted(_) => return Ok(()),
        Outcome::Rejected(rejected) => match rejected.error {
            Some(reason) => error::service(what, &reason),
            None => error::unavailable(what, "the batch was rejected without a reason"),
        },
        Outcome::Released(_) => error::unavailable(what, "the batch was released, not stored"),
        Outcome::Modified(_) => error::unavailable(
            what,
            "the batch was returned to its sender (modified), not stored",
        ),
    };
    Err(error.with_effect(Effect::None))
}

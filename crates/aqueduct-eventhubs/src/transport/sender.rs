use std::sync::Arc;

use aqueduct_core::{Effect, Result};
use fe2o3_amqp::Sender;
use fe2o3_amqp::link::delivery::Sendable;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::{Batch, Data, Message, MessageAnnotations, Outcome};
use fe2o3_amqp::types::primitives::Value;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::connection::{Connection, Connector};
use crate::codec::PARTITION_KEY;
use crate::error;

/// The message format of a batch, whose data sections are messages.
const BATCH: u32 = 0x8001_3700;

/// A link that sends batches to a hub or to one of its partitions.
pub(crate) struct SenderLink {
    sender: Sender,
    what: String,
    _session: SessionHandle<()>,
    _connection: Arc<Connection>,
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
        Ok(Self {
            sender,
            what,
            _session: session,
            _connection: connection,
        })
    }

    /// Returns the largest message, if the service limits it.
    pub(crate) fn max_message_size(&self) -> Option<usize> {
        let limit = self.sender.max_message_size()?;
        usize::try_from(limit).ok()
    }

    /// Returns whether the service closed the link, or its connection is gone.
    pub(crate) fn is_lost(&mut self) -> bool {
        self.sender.on_detach().now_or_never().is_some()
    }

    /// Returns the error with which the service closed the link, if it did so by now.
    pub(crate) fn refusal(&mut self) -> Result<()> {
        match self.sender.on_detach().now_or_never() {
            Some(refused) => Err(error::detached(&self.what, refused)),
            None => Ok(()),
        }
    }

    /// Sends a batch of encoded messages. Completes when it is on its way, which may wait for credit;
    /// what it returns completes when the service has settled the batch.
    ///
    /// Batches are sent in the order of the calls, and several may be on their way.
    pub(crate) async fn send(
        &mut self,
        messages: Vec<Vec<u8>>,
        key: Option<&str>,
    ) -> Result<BoxFuture<'static, Result<()>>> {
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
        let batch = Sendable::builder()
            .message(message)
            .message_format(BATCH)
            .build();
        let what = self.what.clone();
        let settled = self.sender.send_batchable(batch).await;
        let settled = settled.map_err(|failed| error::send(&what, failed))?;
        Ok(Box::pin(async move {
            let outcome = settled.await.map_err(|failed| error::send(&what, failed))?;
            judge(&what, outcome)
        }))
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

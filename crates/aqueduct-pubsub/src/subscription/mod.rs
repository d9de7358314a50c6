//! Receives from one subscription: several streams fill one inbox, from which the engine takes.

mod inbox;
mod stream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_core::{
    Error, ErrorKind, OpenedSubscription, QueueMessage, ReceiveRequest, Result, Runtime, SmallStr,
    Subscription, Task,
};
use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, join_all, select};
use google_cloud_pubsub::error::AckError;
use google_cloud_pubsub::subscriber::handler::Handler;

use self::inbox::{Held, Inbox, Limits};
pub(crate) use self::stream::read;
use self::stream::{Ends, Streams};
use crate::config::Reading;
use crate::connection::Connection;
use crate::error::{not_confirmed, timed_out};
use crate::metrics::Metrics;
use crate::replay::Presence;

/// How long closing waits for the client to send what was acknowledged.
const CLOSING: Duration = Duration::from_secs(10);

/// How long streams may take to stop. They stop at once; a limit keeps a fault of the client from
/// holding the caller.
const STOPPING: Duration = Duration::from_secs(2);

/// How long one call waits for the confirmation of an ack. The client asks again for ten minutes.
const CONFIRMING: Duration = Duration::from_secs(10);

/// How long giving messages back may take where the service confirms it.
const GIVING_BACK: Duration = Duration::from_secs(5);

/// One consumer of a subscription.
pub(crate) struct PubSubSubscription {
    streams: Arc<Streams>,
    tasks: Mutex<Vec<Task<()>>>,
    /// The acks that the service has not confirmed in time, by receipt.
    confirming: Mutex<HashMap<SmallStr, Confirming>>,
    presence: Option<Presence>,
    opened: OpenedSubscription,
    runtime: Runtime,
}

enum Acknowledged {
    Done(Result<()>),
    Confirming(Confirming),
}

type Confirming = BoxFuture<'static, Result<(), AckError>>;

/// The arguments of a consumer of a subscription.
pub(crate) struct Opening {
    pub(crate) connection: Connection,
    /// The resource name.
    pub(crate) path: String,
    /// The short name.
    pub(crate) name: String,
    pub(crate) event_source: SmallStr,
    pub(crate) reading: Reading,
    /// Whether the data of messages is decompressed.
    pub(crate) inflates: bool,
    pub(crate) opened: OpenedSubscription,
    pub(crate) presence: Option<Presence>,
    pub(crate) metrics: Metrics,
}

impl PubSubSubscription {
    pub(crate) fn open(opening: Opening, runtime: &Runtime) -> Self {
        let count = opening.reading.streams;
        let inbox = Inbox::new(Limits {
            messages: opening.reading.max_unsettled,
            bytes: opening.reading.max_unsettled_bytes,
            ordered: opening.opened.settings.ordered,
        });
        let streams = Arc::new(Streams {
            connection: opening.connection,
            path: opening.path,
            name: opening.name,
            event_source: opening.event_source,
            reading: opening.reading,
            inflates: opening.inflates,
            inbox,
            ends: Ends::default(),
            runtime: runtime.clone(),
            metrics: opening.metrics,
        });
        let tasks = (0..count).map(|_| runtime.spawn(streams.clone().keep_open()));
        Self {
            tasks: Mutex::new(tasks.collect()),
            streams,
            confirming: Mutex::default(),
            presence: opening.presence,
            opened: opening.opened,
            runtime: runtime.clone(),
        }
    }

    async fn give_back(&self, held: Vec<Held<Handler>>) {
        let given = self.runtime.timeout(GIVING_BACK, "nack", give_back(held));
        if given.await.is_err() {
            tracing::debug!(
                subscription = %self.streams.name,
                "messages that are given back come again when their deadlines end"
            );
        }
    }

    fn not_held(&self) -> Error {
        Error::new(
            ErrorKind::Revoked,
            format!(
                "subscription {}: the message is no longer held",
                self.streams.name
            ),
        )
    }

    /// Acknowledges a message: `Ok` once the client has the ack, or its confirmation to await.
    fn acknowledge(&self, receipt: &SmallStr, held: Option<Held<Handler>>) -> Acknowledged {
        let Some(held) = held else {
            let confirming = self.confirming().remove(receipt);
            return match confirming {
                Some(confirming) => Acknowledged::Confirming(confirming),
                None => Acknowledged::Done(Err(self.not_held())),
            };
        };
        for older in held.older {
            older.ack();
        }
        match held.handle {
            Handler::ExactlyOnce(handle) => {
                Acknowledged::Confirming(handle.confirmed_ack().boxed())
            }
            handle => {
                handle.ack();
                Acknowledged::Done(Ok(()))
            }
        }
    }

    async fn confirmed(&self, receipt: &SmallStr, confirming: Confirming) -> Result<()> {
        let what = || format!("acknowledging on subscription {}", self.streams.name);
        match select(confirming, self.runtime.sleep(CONFIRMING)).await {
            Either::Left((outcome, _)) => outcome.map_err(|error| not_confirmed(what(), error)),
            Either::Right((_, confirming)) => {
                // The client goes on for minutes: the next call waits for the same outcome.
                self.confirming().insert(receipt.clone(), confirming);
                Err(timed_out(what(), CONFIRMING))
            }
        }
    }

    fn confirming(&self) -> MutexGuard<'_, HashMap<SmallStr, Confirming>> {
        self.confirming
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Subscription for PubSubSubscription {
    async fn receive(&self, request: ReceiveRequest) -> Result<Vec<QueueMessage>> {
        let inbox = &self.streams.inbox;
        let mut late = self.runtime.sleep(request.wait);
        loop {
            let arrivals = inbox.arrivals();
            if let Some(taken) = inbox.take(request.max, self.runtime.now()) {
                return taken;
            }
            match select(arrivals, late).await {
                Either::Left((_, timer)) => late = timer,
                Either::Right(_) => return Ok(Vec::new()),
            }
        }
    }

    async fn ack(&self, receipts: &[SmallStr]) -> Vec<Result<()>> {
        let held = self.streams.inbox.settle(receipts.iter());
        let mut outcomes = Vec::with_capacity(receipts.len());
        let mut confirming = Vec::new();
        for (at, (receipt, held)) in receipts.iter().zip(held).enumerate() {
            outcomes.push(match self.acknowledge(receipt, held) {
                Acknowledged::Done(outcome) => outcome,
                Acknowledged::Confirming(ack) => {
                    let confirmed = self.confirmed(receipt, ack);
                    confirming.push(async move { (at, confirmed.await) });
                    Ok(())
                }
            });
        }
        for (at, outcome) in join_all(confirming).await {
            outcomes[at] = outcome;
        }
        outcomes
    }

    async fn release(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        let receipts = messages.iter().map(|(receipt, _)| receipt);
        let (known, released) = self.streams.inbox.release(receipts, self.runtime.now());
        self.give_back(released).await;
        known
            .into_iter()
            .map(|known| if known { Ok(()) } else { Err(self.not_held()) })
            .collect()
    }

    async fn extend(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        // The client renews every lease by itself.
        messages.iter().map(|_| Ok(())).collect()
    }

    async fn close(&self) -> Result<()> {
        self.stop().await;
        self.give_back(self.streams.inbox.take_all()).await;
        let sent = self.streams.ends.wait();
        if self.runtime.timeout(CLOSING, "close", sent).await.is_err() {
            tracing::warn!(
                subscription = %self.streams.name,
                "the service did not take every acknowledgement in time: those messages come again"
            );
        }
        if let Some(presence) = &self.presence {
            presence.end().await;
        }
        Ok(())
    }

    fn opened(&self) -> Option<OpenedSubscription> {
        Some(self.opened.clone())
    }

    async fn stop(&self) {
        self.streams.inbox.stop();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        // A task that does not end in time is cancelled: its messages stay in the client until the
        // stream ends.
        let _ = self
            .runtime
            .timeout(STOPPING, "stop", join_all(tasks))
            .await;
        self.give_back(self.streams.inbox.take_unseen()).await;
    }
}

impl Drop for PubSubSubscription {
    /// A consumer that is dropped gives its messages back: the client would keep renewing them.
    fn drop(&mut self) {
        self.streams.inbox.stop();
        let held = self.streams.inbox.take_all();
        if !held.is_empty() {
            self.runtime.spawn(give_back(held)).detach();
        }
    }
}

/// Gives messages back, in order. Where the subscription confirms, the end of a stream would send those
/// that are not sent yet in any order: they are waited for.
async fn give_back(held: Vec<Held<Handler>>) {
    let handles = held
        .into_iter()
        .flat_map(|it| it.older.into_iter().chain([it.handle]));
    nack_all(handles).await;
}

/// Gives messages back in order, and waits for the confirmations that there are.
pub(crate) async fn nack_all(handles: impl Iterator<Item = Handler>) {
    let mut confirmed = Vec::new();
    for handle in handles {
        match handle {
            // Polled once in order, each is on its way.
            Handler::ExactlyOnce(handle) => {
                let mut nack = Box::pin(handle.confirmed_nack());
                if nack.as_mut().now_or_never().is_none() {
                    confirmed.push(nack);
                }
            }
            handle => handle.nack(),
        }
    }
    // One that fails comes again when its deadline ends.
    join_all(confirmed).await;
}

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_core::{Backoff, Error, QueueMessage, Result, Runtime, SmallStr, Timestamp};
use futures::FutureExt as _;
use futures::future::{Either, select};
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownToken};

use super::inbox::Inbox;
use crate::codec::{Incoming, decode, inflate};
use crate::config::Reading;
use crate::connection::Connection;
use crate::error::failed;
use crate::metrics::Metrics;

/// The pause before a stream that failed is opened anew.
const REOPEN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// The most messages that are taken from a stream before they are handed on.
const BATCH: usize = 500;

/// The state shared by all streams of a subscription.
pub(super) struct Streams {
    pub(super) connection: Connection,
    /// The resource name.
    pub(super) path: String,
    /// The short name, for errors.
    pub(super) name: String,
    /// The event source of messages that are not CloudEvents.
    pub(super) event_source: SmallStr,
    pub(super) reading: Reading,
    /// Whether the data of messages is decompressed.
    pub(super) inflates: bool,
    pub(super) inbox: Inbox<Handler>,
    pub(super) ends: Ends,
    pub(super) runtime: Runtime,
    pub(super) metrics: Metrics,
}

/// How a stream came to its end.
enum End {
    Stopped,
    Silent,
    Ended,
    Failed(Error),
}

impl Streams {
    /// Keeps one stream open until the subscription stops.
    pub(super) async fn keep_open(self: Arc<Self>) {
        let mut failures = 0;
        while !self.inbox.is_stopped() {
            let mut received = false;
            let end = match self.open().await {
                Ok(mut stream) => {
                    let token = stream.shutdown_token();
                    let end = self.read(&mut stream, &mut received).await;
                    drop(stream);
                    self.ends.add(token);
                    end
                }
                Err(error) => End::Failed(error),
            };
            failures = if received { 1 } else { failures + 1 };
            match end {
                End::Stopped => return,
                End::Silent => {
                    failures = 0;
                    self.metrics.silent.increment(1);
                    tracing::debug!(subscription = %self.name, "a silent stream is opened anew");
                    continue;
                }
                End::Ended => {}
                End::Failed(error) => self.inbox.fail(error),
            }
            self.metrics.reopened.increment(1);
            let pause = self.runtime.sleep(REOPEN.delay(failures, &self.runtime));
            let stopped = self.stopped();
            futures::pin_mut!(stopped);
            select(pause, stopped).await;
        }
    }

    /// Opens a stream on a connection of its own: one that is silent takes no other with it.
    async fn open(&self) -> Result<MessageStream> {
        let subscriber = self.connection.subscriber().await?;
        let limits = &self.reading;
        let _tokio = self.connection.enter();
        Ok(subscriber
            .subscribe(self.path.as_str())
            .set_max_lease(limits.max_lease)
            .set_max_lease_extension(limits.ack_deadline)
            .set_max_outstanding_messages(i64::try_from(limits.max_unsettled).unwrap_or(i64::MAX))
            .set_max_outstanding_bytes(
                i64::try_from(limits.max_unsettled_bytes).unwrap_or(i64::MAX),
            )
            .build())
    }

    async fn read(&self, stream: &mut MessageStream, received: &mut bool) -> End {
        loop {
            self.room().await;
            // Checked first: a stream that always has messages would never end.
            let first = if self.inbox.is_stopped() {
                None
            } else {
                let next = stream.next();
                let stopped = self.stopped();
                let silence = self.runtime.sleep(self.reading.silence);
                futures::pin_mut!(next, stopped);
                match select(next, select(stopped, silence)).await {
                    Either::Left((next, _)) => Some(next),
                    Either::Right((Either::Left(_), _)) => None,
                    Either::Right((Either::Right(_), _)) => return End::Silent,
                }
            };
            let stopping = first.is_none();
            // Messages that the client holds already come at once; what it would wait for does not.
            let mut batch = Vec::new();
            let mut next = match first {
                Some(next) => Some(next),
                None => stream.next().now_or_never(),
            };
            let limit = if stopping {
                usize::MAX
            } else {
                BATCH.min(self.inbox.room().max(1))
            };
            let mut end = None;
            while let Some(item) = next.take() {
                match item {
                    Some(Ok((message, handler))) => batch.push(self.convert(message, handler)),
                    Some(Err(error)) => {
                        let what = format_args!("subscription {}", self.name);
                        end = Some(End::Failed(failed(what, error)));
                    }
                    None => end = Some(End::Ended),
                }
                if end.is_none() && batch.len() < limit {
                    next = stream.next().now_or_never();
                }
            }
            if !batch.is_empty() {
                *received = true;
                self.metrics.received.increment(batch.len() as u64);
                for handler in self.inbox.push(batch, self.runtime.now()) {
                    handler.nack();
                }
            }
            match end {
                Some(end) => return end,
                None if stopping => return End::Stopped,
                None => {}
            }
        }
    }

    /// Waits for room, or for the stop.
    async fn room(&self) {
        loop {
            let changed = self.inbox.room_changes();
            if self.inbox.room() > 0 || self.inbox.is_stopped() {
                return;
            }
            changed.await;
        }
    }

    async fn stopped(&self) {
        loop {
            let changed = self.inbox.room_changes();
            if self.inbox.is_stopped() {
                return;
            }
            changed.await;
        }
    }

    fn convert(&self, mut message: Message, handler: Handler) -> (QueueMessage, Handler) {
        let receipts = handler.delivery_attempt();
        let inflated = self.inflates.then(|| inflate(&message.data));
        let damage = match inflated {
            Some(Ok(data)) => {
                message.data = data;
                None
            }
            Some(Err(damage)) => Some(damage),
            None => None,
        };
        let mut message = read(message, &self.event_source);
        if let Some(damage) = damage {
            message.event = message.event.damaged_by(damage);
        }
        message.receipts = receipts.and_then(|it| u32::try_from(it).ok()).unwrap_or(1);
        (message, handler)
    }
}

/// Converts a message; its receipt is given by the inbox.
pub(crate) fn read(message: Message, event_source: &SmallStr) -> QueueMessage {
    let id = SmallStr::from(message.message_id);
    let size: usize = message
        .attributes
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let bytes = message.data.len() + size + message.ordering_key.len() + 512;
    let order_key =
        (!message.ordering_key.is_empty()).then(|| SmallStr::from(message.ordering_key.as_str()));
    let event = decode(Incoming {
        id: &id,
        data: message.data,
        attributes: message.attributes,
        ordering_key: &message.ordering_key,
        source: event_source,
    });
    let mut read = QueueMessage::new(id, SmallStr::default(), event);
    read.order_key = order_key;
    read.bytes = bytes;
    read.stored_at = message
        .publish_time
        .and_then(|at| Timestamp::from_parts(at.seconds(), at.nanos()).ok());
    read
}

/// The streams that bring nothing any more. Each sends what is acknowledged of its messages, and ends
/// with the last of them.
#[derive(Default)]
pub(super) struct Ends(Mutex<Vec<ShutdownToken>>);

impl Ends {
    fn add(&self, token: ShutdownToken) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|it| it.shutdown().now_or_never().is_none());
        tokens.push(token);
    }

    /// Waits until everything that was acknowledged or given back has been sent. All handles must be
    /// settled: a stream ends only with the last of them.
    pub(super) async fn wait(&self) {
        let tokens = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for token in tokens {
            token.shutdown().await;
        }
    }
}

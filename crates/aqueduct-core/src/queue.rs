use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Capabilities, Error, Event, GroupName, Result, SmallStr, Start, StreamName, Timestamp,
};

/// A service that shares its messages among consumers by itself: it hides a message from the
/// others for a while when it hands it out (a lease), and hands it out again unless it is
/// acknowledged in time.
///
/// `aqueduct-queue` makes a [`BatchConsumer`](crate::BatchConsumer) of it: order per key, retries in place,
/// renewal of leases and limits are its work. An implementation translates calls and errors, and
/// neither retries nor remembers anything.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Returns the stream that it reads.
    fn stream(&self) -> &StreamName;

    /// Returns what its consumers can do, as opened.
    fn capabilities(&self) -> Capabilities;

    /// Returns what the service and the stream's configuration set.
    fn settings(&self) -> QueueSettings;

    /// Opens what one consumer of `group` reads. Services without groups ignore the name.
    ///
    /// # Errors
    /// `NotFound` if the service has groups of its own and not this one.
    async fn subscribe(&self, group: &GroupName) -> Result<Arc<dyn Subscription>>;

    /// Lets `group` receive again what it settled, from `start` on, and returns its new replay
    /// generation, which is one higher. What it has not settled before `start` counts as settled.
    ///
    /// # Errors
    /// `Unsupported` if the service keeps nothing that was settled, or cannot begin there; `Conflict`
    /// while members of the group live; `NotFound` without the group.
    async fn replay(&self, group: &GroupName, start: &Start) -> Result<u64> {
        let _ = start;
        Err(Error::unsupported(format!(
            "queue {}: group {group} cannot receive settled messages again",
            self.stream()
        )))
    }
}

/// The messages that one consumer shares with the others of its group.
///
/// Every batch method returns one outcome per message, in the order of the arguments. The kinds of
/// error that the engine tells apart:
///
/// - `Revoked` or `Invalid`: the receipt no longer counts. The message was or will be handed out
///   again.
/// - an error that can be retried: the engine repeats the call with back-off.
/// - any other: the engine repeats it too, warns, and returns it from `receive_batch` and `flush`.
///
/// # Services that push
/// A client that pushes messages over a stream and renews their leases by itself fits as well:
///
/// - [`receive`](Self::receive) takes messages out of the client's buffer, and waits up to
///   [`ReceiveRequest::wait`] if it is empty. The buffer's limit is the client's flow control.
/// - [`QueueSettings::client_leases`] says that the client renews leases: the engine never calls
///   [`extend`](Self::extend), and gives a message back when its longest lease ends.
/// - [`ack`](Self::ack) awaits the confirmation where the subscription confirms (exactly-once
///   delivery); a lease that expired is `Revoked`. An unconfirmed ack is `Ok` once it is sent.
/// - A service whose nack has no delay sets [`QueueSettings::longest_delay`] to zero: the engine
///   holds such a message, and releases it only if it must. It releases the later messages of its
///   key with it, as such services need to keep the order. A message of that key that was handed out
///   before and is still in the client's buffer goes back too.
/// - A client that nacks what is dropped keeps its handles by receipt until they are settled.
/// - [`stop`](Self::stop) ends the stream's flow: what the client's buffer holds goes back.
/// - [`close`](Self::close) ends the stream. The engine has acknowledged or released every message
///   by then, unless the service did not respond.
#[async_trait]
pub trait Subscription: Send + Sync {
    /// Receives up to [`ReceiveRequest::max`] messages; empty if none came in time. Cancelling the
    /// call may leave messages hidden until their leases end.
    ///
    /// # Errors
    /// `Unavailable`, `Throttled` or `TimedOut` if receiving again may help; `Denied`, or `NotFound` without the
    /// queue or the group; `Corrupt` for a response that cannot be read. A message that cannot be decoded is
    /// no error: it comes as an event of the type [`Event::DAMAGED`].
    async fn receive(&self, request: ReceiveRequest) -> Result<Vec<QueueMessage>>;

    /// Acknowledges up to [`QueueSettings::batch`] messages, by their receipts.
    ///
    /// # Errors
    /// Per message: `Revoked` or `Invalid` if its receipt no longer counts; `Unavailable`, `Throttled` or
    /// `TimedOut` if the call may be repeated; `Denied`. A message whose call failed for good is handed out again when its lease ends.
    async fn ack(&self, receipts: &[SmallStr]) -> Vec<Result<()>>;

    /// Gives up to [`QueueSettings::batch`] messages back, each to be handed out again after its
    /// delay, at most [`QueueSettings::longest_delay`].
    ///
    /// # Errors
    /// Per message: `Revoked` or `Invalid` if its receipt no longer counts; `Unavailable`, `Throttled` or
    /// `TimedOut` if the call may be repeated; `Denied`. A message whose call failed for good is handed out again when its lease ends.
    async fn release(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>>;

    /// Moves the ends of the leases of up to [`QueueSettings::batch`] messages to a duration from
    /// now. Durations are whole seconds.
    ///
    /// # Errors
    /// Per message: `Revoked` or `Invalid` if its receipt no longer counts; `Unavailable`, `Throttled` or
    /// `TimedOut` if the call may be repeated; `Denied`. A message whose call failed for good keeps its old end.
    async fn extend(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>>;

    /// Ends reading.
    ///
    /// # Errors
    /// `Unavailable` or `TimedOut` if the service could not be told; the subscription is closed all the same.
    async fn close(&self) -> Result<()>;

    /// Returns what became known when the group was opened; `None` if it is as the queue said.
    fn opened(&self) -> Option<OpenedSubscription> {
        None
    }

    /// Stops taking messages from the service: none will be received any more, those received are
    /// still settled. The default does nothing, as for services that are asked for each message.
    async fn stop(&self) {}
}

/// The properties of an opened subscription, where it differs between the groups of one queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenedSubscription {
    /// Its settings.
    pub settings: QueueSettings,
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// The group's replay generation.
    pub replay: u64,
}

impl OpenedSubscription {
    /// Creates the description of a subscription that was never replayed.
    pub fn new(settings: QueueSettings, capabilities: Capabilities) -> Self {
        Self {
            settings,
            capabilities,
            replay: 0,
        }
    }
}

/// A request for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveRequest {
    /// The most messages, at most [`QueueSettings::batch`].
    pub max: usize,
    /// How long to wait if there are none.
    pub wait: Duration,
    /// How long the messages are hidden from others.
    pub lease: Duration,
    /// Identifies the request. A request whose response was lost is repeated with the same token,
    /// for services that repeat their response.
    pub token: SmallStr,
}

impl ReceiveRequest {
    /// Creates a request for up to `max` messages, with the waits of `settings`.
    pub fn new(max: usize, settings: &QueueSettings, token: SmallStr) -> Self {
        Self {
            max,
            wait: settings.wait,
            lease: settings.lease,
            token,
        }
    }
}

/// A message, as it was handed out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueMessage {
    /// The service's id, the same each time the message is handed out.
    pub id: SmallStr,
    /// Settles the message; differs each time it is handed out.
    pub receipt: SmallStr,
    /// The key by which the service orders; `None` where it does not.
    pub order_key: Option<SmallStr>,
    /// The event.
    pub event: Event,
    /// The size in memory, approximately.
    pub bytes: usize,
    /// When the service stored it, if it says so.
    pub stored_at: Option<Timestamp>,
    /// How often the service has handed it out, this time included.
    pub receipts: u32,
    /// How long the client has held it already, before it was received here.
    pub held: Duration,
}

impl QueueMessage {
    /// Creates a message that is handed out for the first time.
    pub fn new(id: SmallStr, receipt: SmallStr, event: Event) -> Self {
        Self {
            id,
            receipt,
            order_key: None,
            bytes: event.data().map_or(0, |data| data.len()),
            event,
            stored_at: None,
            receipts: 1,
            held: Duration::ZERO,
        }
    }
}

/// The settings of a queue service and of its stream that the engine follows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueSettings {
    /// Whether the service keeps the order of each key.
    pub ordered: bool,
    /// The most messages of one request; default 10.
    pub batch: usize,
    /// How long one request for messages waits; default 20 s.
    pub wait: Duration,
    /// How long a message is hidden before the engine extends that; default 60 s: the messages of
    /// a consumer that died come again within a minute.
    pub lease: Duration,
    /// The longest that a message can be hidden after its receipt; default 12 h.
    pub longest_lease: Duration,
    /// The longest delay of a release; zero if the service has none. Default 12 h.
    pub longest_delay: Duration,
    /// The longest delay for which the engine holds a message, and those behind it, instead of
    /// releasing them; default 15 min.
    pub hold: Duration,
    /// The most requests for messages at once while they return full batches, and up to twice as many
    /// while they return fewer (1 stays 1); default 4: a busy queue fills each, an idle one is asked by
    /// one alone.
    pub receivers: usize,
    /// Limits the messages in flight; default 1,000.
    pub max_unsettled: usize,
    /// Limits the bytes in flight, approximately; default 64 MiB.
    pub max_unsettled_bytes: usize,
    /// How attempts are counted; default: runs of a handler.
    pub attempts: AttemptCount,
    /// Whether the client renews the leases, so that they last for [`longest_lease`](Self::longest_lease);
    /// default: no.
    pub client_leases: bool,
    /// Whether an ordered service hands out nothing of a key while an earlier message of it is in
    /// flight; default: yes. Otherwise the engine gives nothing back while an earlier one is handled,
    /// since another consumer would receive it at once.
    pub locks_keys: bool,
    /// Whether an ordered service takes the acks of a key in order alone; default: no. The engine then
    /// keeps an ack until those of earlier messages are sent, and a flush does not wait for it.
    pub acks_in_order: bool,
    /// Whether the service may hand out an acknowledged message again; default: an unordered one may.
    pub repeats: bool,
}

impl QueueSettings {
    /// Creates the default settings of an ordered or an unordered service.
    pub fn new(ordered: bool) -> Self {
        let longest = Duration::from_secs(12 * 3600);
        Self {
            ordered,
            batch: 10,
            wait: Duration::from_secs(20),
            lease: Duration::from_secs(60),
            longest_lease: longest,
            longest_delay: longest,
            hold: Duration::from_secs(900),
            receivers: 4,
            max_unsettled: 1_000,
            max_unsettled_bytes: 64 << 20,
            attempts: AttemptCount::Runs,
            client_leases: false,
            locks_keys: true,
            acks_in_order: false,
            repeats: !ordered,
        }
    }
}

/// How attempts at a message are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttemptCount {
    /// Runs of a handler in this process: a message that only waited gains none.
    #[default]
    Runs,
    /// The service's receipts, those of other consumers and of messages that only waited included.
    Receipts,
}

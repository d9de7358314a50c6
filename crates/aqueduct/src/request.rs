//! Requests and replies over two streams.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{Error, ErrorKind, Event, Result, Retry, Runtime, SmallStr, Start, Task};
use futures::StreamExt as _;
use futures::channel::oneshot;
use futures::stream::BoxStream;

use crate::client::{Client, Reader};
use crate::consumer::Consumer;
use crate::producer::Producer;

/// Sends requests to one stream and waits for their replies on another.
///
/// A reply is an event [`caused_by`](Event::caused_by) the request, directly (`causationid`) or by way of
/// others that keep its id as their `correlationid`. The first reply to a request counts; others, and those to requests of other
/// processes, are passed over. Clones share everything.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use std::time::Duration;
/// use aqueduct::{Client, Event, State, Producer};
///
/// let client = Client::from_toml(r#"
///     [client]
///     source = "/shop"
///     [streams.questions]
///     url = "memory:"
///     [streams.answers]
///     url = "memory:"
///     [groups.prices]
///     stream = "questions"
///     on_reject = "stop"
/// "#).await?;
/// let prices = client
///     .worker("prices")
///     .await?
///     .state(client.producer("answers").await?)
///     .on("price.asked", |asked: Event, State(answers): State<Producer>| async move {
///         let told = Event::json("price.told", &950)?.caused_by(&asked, 0);
///         answers.send(told).await.map(drop)
///     });
/// let control = prices.control();
/// let running = tokio::spawn(prices.run_to_end());
///
/// let requester = client.requester("questions", "answers").await?;
/// let told = requester.request(Event::new("price.asked"), Duration::from_secs(30)).await?;
/// assert_eq!(told.decode_json::<u32>()?, 950);
/// control.stop();
/// running.await.expect("it does not panic")?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Requester {
    producer: Producer,
    runtime: Runtime,
    waiting: Arc<Waiting>,
    /// Ends with the last clone.
    _receiving: Arc<Task<()>>,
}

/// The requests without a reply.
#[derive(Default)]
struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    replies: HashMap<SmallStr, oneshot::Sender<Event>>,
    /// Set once no more replies can arrive.
    ended: Option<Error>,
}

impl Client {
    /// Returns a requester that sends to the stream `requests` and reads the stream `replies` from now
    /// on. Every requester sees all replies, so one stream of replies serves many processes.
    ///
    /// # Errors
    /// `Config` for an unknown name; `Unsupported` if `replies` is a queue, of which each process needs
    /// its own: see [`requester_of`](Self::requester_of); errors of opening them.
    pub async fn requester(&self, requests: &str, replies: &str) -> Result<Requester> {
        let producer = self.producer(requests).await?;
        let reader = self.reader(replies, Start::Latest).await?;
        Ok(Requester::new(producer, self.runtime(), replies_of(reader)))
    }

    /// Returns a requester that sends to the stream `requests` and receives replies as the group
    /// `replies`, for queues. No other process may be a member: its replies would be lost.
    ///
    /// # Errors
    /// `Config` for an unknown name; errors of opening them.
    pub async fn requester_of(&self, requests: &str, replies: &str) -> Result<Requester> {
        let producer = self.producer(requests).await?;
        let consumer = self.consumer(replies).await?;
        Ok(Requester::new(
            producer,
            self.runtime(),
            received_by(consumer),
        ))
    }
}

/// Reads events; an error that can pass is passed over, since the reader goes on.
fn replies_of(reader: Reader) -> BoxStream<'static, Result<Event>> {
    let events = reader.filter_map(|read| async move {
        match read {
            Ok(read) => Some(Ok(read.event)),
            Err(error) if error.retry() == Retry::Never => Some(Err(error)),
            Err(error) => {
                tracing::warn!(%error, "reading replies failed; it is tried again");
                None
            }
        }
    });
    events.boxed()
}

/// Receives events and acknowledges them.
fn received_by(consumer: Consumer) -> BoxStream<'static, Result<Event>> {
    let batches = futures::stream::unfold(consumer, |consumer| async move {
        let mut events = Vec::new();
        match consumer.receive_batch(100).await {
            Ok(deliveries) if deliveries.is_empty() => return None,
            Ok(deliveries) => {
                for delivery in deliveries {
                    events.push(Ok(delivery.event().clone()));
                    if let Err(failed) = delivery.ack().await {
                        tracing::warn!(error = %failed, "a reply was not acknowledged");
                    }
                }
            }
            Err(error) => events.push(Err(error)),
        }
        Some((futures::stream::iter(events), consumer))
    });
    batches.flatten().boxed()
}

impl Requester {
    fn new(
        producer: Producer,
        runtime: &Runtime,
        replies: BoxStream<'static, Result<Event>>,
    ) -> Self {
        let waiting = Arc::new(Waiting::default());
        let receiving = runtime.spawn(receive(replies, waiting.clone()));
        Self {
            producer,
            runtime: runtime.clone(),
            waiting,
            _receiving: Arc::new(receiving),
        }
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// `TimedOut` if no reply arrived `within` that time: whether the request was handled is unknown.
    /// Errors of sending it. The error that ended the reading of replies.
    pub async fn request(&self, request: Event, within: Duration) -> Result<Event> {
        let id = request.id().with_str(|id| SmallStr::from(id));
        let reply = self.waiting.add(&id)?;
        let _entry = Entry {
            waiting: &self.waiting,
            id: &id,
        };
        let replied = async {
            self.producer.send(request).await?;
            reply.await.map_err(|_| self.waiting.ended())
        };
        let waited = self
            .runtime
            .timeout(within, "waiting for the reply", replied);
        match waited.await {
            Ok(replied) => replied,
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "request {id}: no reply arrived within {within:?}; whether it was handled is unknown"
                ),
            )),
        }
    }
}

impl Waiting {
    fn add(&self, id: &SmallStr) -> Result<oneshot::Receiver<Event>> {
        let mut state = lock(&self.0);
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        if state.replies.contains_key(id) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("request {id}: one with this id waits for its reply already"),
            ));
        }
        let (sender, reply) = oneshot::channel();
        state.replies.insert(id.clone(), sender);
        Ok(reply)
    }

    fn replied(&self, event: Event) {
        // The correlation id is that of a longer process if the request has one.
        let names = [event.causation_id(), event.correlation_id()];
        let mut state = lock(&self.0);
        let waiting = names
            .into_iter()
            .flatten()
            .find_map(|id| state.replies.remove(id));
        if let Some(waiting) = waiting {
            // A request that no longer waits needs no reply.
            let _ = waiting.send(event);
        }
    }

    fn end(&self, error: Error) {
        let mut state = lock(&self.0);
        state.ended = Some(error);
        state.replies.clear();
    }

    fn ended(&self) -> Error {
        let ended = lock(&self.0).ended.clone();
        ended.unwrap_or_else(|| Error::new(ErrorKind::Closed, "the requester is closed"))
    }
}

/// A request's place among those that wait, until its future ends.
struct Entry<'a> {
    waiting: &'a Waiting,
    id: &'a SmallStr,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        lock(&self.waiting.0).replies.remove(self.id);
    }
}

async fn receive(mut replies: BoxStream<'static, Result<Event>>, waiting: Arc<Waiting>) {
    while let Some(received) = replies.next().await {
        match received {
            Ok(event) => waiting.replied(event),
            Err(error) => {
                waiting.end(error.context("reading replies"));
                return;
            }
        }
    }
    waiting.end(Error::new(
        ErrorKind::Closed,
        "the stream of replies has ended",
    ));
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.waiting.0).replies.len();
        f.debug_struct("Requester")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

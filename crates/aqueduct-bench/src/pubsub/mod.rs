//! Pub/Sub: Google's client alone, and Aqueduct on it, in the same run.

pub(crate) mod keys;
pub(crate) mod publish;
pub(crate) mod receive;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_core::{Backend as _, Error, ErrorKind, Event, Options, Resource, Result, Url};
use aqueduct_pubsub::PubSubBackend;
use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_pubsub::client::{BasePublisher, Subscriber, SubscriptionAdmin, TopicAdmin};

use crate::aws::server::{Kind, Server};
use crate::memory::bad_json;
use crate::payload::Reading;
use crate::sqlite::invalid_url;

const PROJECT: &str = "bench-project";

/// The events of one call, and the messages of one request.
const FULL: usize = 1_000;

/// The most calls at once, as the producer engine has requests in flight.
const IN_FLIGHT: usize = 4;

/// A topic with one subscription, on an emulator of its own unless the environment names one.
struct Topic {
    endpoint: String,
    name: String,
    _server: Option<Server>,
}

impl Topic {
    async fn create(ordered: bool) -> Result<Self> {
        let (endpoint, server) = match std::env::var("AQUEDUCT_BENCH_PUBSUB") {
            Ok(endpoint) => (endpoint, None),
            Err(_) => {
                let server = Server::start(Kind::PubSub)?;
                (server.endpoint.clone(), Some(server))
            }
        };
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default();
        let topic = Self {
            endpoint,
            name: format!("bench-{}-{}", std::process::id(), now.as_nanos()),
            _server: server,
        };
        // The backend installs a provider of cryptography, which the plain client needs too.
        topic
            .resource("")?
            .admin(&aqueduct_runtime::tokio())
            .await?;
        let topics = TopicAdmin::builder()
            .with_endpoint(&topic.endpoint)
            .with_credentials(plain())
            .build()
            .await
            .map_err(|e| client("a client", e))?;
        let made = topics
            .create_topic()
            .set_name(topic.path("topics"))
            .send()
            .await;
        made.map_err(|e| client("CreateTopic", e))?;
        let subscriptions = SubscriptionAdmin::builder()
            .with_endpoint(&topic.endpoint)
            .with_credentials(plain())
            .build()
            .await
            .map_err(|e| client("a client", e))?;
        let made = subscriptions
            .create_subscription()
            .set_name(topic.subscription())
            .set_topic(topic.path("topics"))
            .set_enable_message_ordering(ordered)
            .set_ack_deadline_seconds(60)
            .send()
            .await;
        made.map_err(|e| client("CreateSubscription", e))?;
        Ok(topic)
    }

    fn path(&self, kind: &str) -> String {
        format!("projects/{PROJECT}/{kind}/{}", self.name)
    }

    /// Returns the name of the subscription of the group `bench`.
    fn subscription(&self) -> String {
        format!("{}.bench", self.path("subscriptions"))
    }

    fn resource(&self, query: &str) -> Result<Arc<dyn Resource>> {
        let text = format!(
            "pubsub://{PROJECT}/{}?endpoint={}{query}",
            self.name, self.endpoint
        );
        let url = Url::parse(&text).map_err(invalid_url)?;
        PubSubBackend::new().parse("bench", &url, Options::new("streams.bench"))
    }

    async fn publisher(&self) -> Result<BasePublisher> {
        let built = BasePublisher::builder()
            .with_endpoint(&self.endpoint)
            .with_credentials(plain())
            .build();
        built.await.map_err(|e| client("a publisher", e))
    }

    async fn subscriber(&self) -> Result<Subscriber> {
        let built = Subscriber::builder()
            .with_endpoint(&self.endpoint)
            .with_credentials(plain())
            .build();
        built.await.map_err(|e| client("a subscriber", e))
    }
}

fn plain() -> Credentials {
    anonymous::Builder::new().build()
}

/// Numbers in batches, each taken once by the next task that asks.
struct Numbers {
    next: AtomicU64,
    events: u64,
}

impl Numbers {
    fn new(events: u64) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(0),
            events,
        })
    }

    fn take(&self) -> Option<std::ops::Range<u64>> {
        let first = self.next.fetch_add(FULL as u64, Ordering::Relaxed);
        (first < self.events).then(|| first..self.events.min(first + FULL as u64))
    }
}

fn event(number: u64, keyed: bool) -> Result<Event> {
    let reading = Reading::new(number);
    let event = Event::json("reading.taken", &reading)?;
    Ok(match keyed {
        true => event.with_key(reading.key()),
        false => event,
    })
}

fn data(reading: &Reading) -> Result<Vec<u8>> {
    serde_json::to_vec(reading).map_err(bad_json)
}

fn client(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what} failed")).with_source(error)
}

async fn finish(tasks: Vec<tokio::task::JoinHandle<Result<()>>>) -> Result<()> {
    for task in tasks {
        task.await.map_err(|e| client("a task", e))??;
    }
    Ok(())
}

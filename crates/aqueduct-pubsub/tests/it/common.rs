//! Topics to test: on the emulator in process, or on an endpoint.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aqueduct_conformance::{Fault, Faults, Fixture, Lack, Subject, Timing};
use aqueduct_core::{
    Backend, BatchConsumer, Options, Queue, Resource, Result, Runtime, Source, StreamSpec, Url,
};
use aqueduct_emulators::{PubSub, PubSubFault, PubSubOptions};
use aqueduct_memory::MemoryBackend;
use aqueduct_pubsub::PubSubBackend;
use aqueduct_queue::QueueOptions;
use async_trait::async_trait;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::{BasePublisher, Publisher, SubscriptionAdmin, TopicAdmin};

const PROJECT: &str = "test-project";

pub(crate) fn endpoint() -> Option<String> {
    std::env::var("AQUEDUCT_TEST_PUBSUB_ENDPOINT").ok()
}

/// Returns a Tokio runtime, and the Aqueduct runtime on it.
pub(crate) fn real_time() -> (tokio::runtime::Runtime, Runtime) {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let runtime = {
        let _entered = tokio.enter();
        aqueduct_runtime::tokio()
    };
    (tokio, runtime)
}

pub(crate) fn resource(url: &str) -> Arc<dyn Resource> {
    let url = Url::parse(url).unwrap();
    let options = Options::new("streams.orders");
    PubSubBackend::new().parse("orders", &url, options).unwrap()
}

/// Runs a test on the emulator in process, or on the endpoint of the environment.
pub(crate) fn with_emulator<F: Future<Output = ()>>(test: impl FnOnce(Place) -> F) {
    let (tokio, runtime) = real_time();
    tokio.block_on(async {
        let emulator = match endpoint() {
            None => Some(Arc::new(start().await)),
            Some(_) => None,
        };
        let place = Place {
            endpoint: endpoint().unwrap_or_else(|| emulator.as_ref().unwrap().endpoint()),
            emulator,
            runtime,
            made: AtomicU64::new(0),
        };
        test(place).await;
    });
}

pub(crate) async fn start() -> PubSub {
    PubSub::start(PubSubOptions::new()).await.unwrap()
}

/// An emulator.
pub(crate) struct Place {
    pub(crate) endpoint: String,
    /// The server; `None` on an endpoint of the environment.
    pub(crate) emulator: Option<Arc<PubSub>>,
    pub(crate) runtime: Runtime,
    made: AtomicU64,
}

impl Place {
    /// Returns the name of a topic that nothing else uses.
    pub(crate) fn unique(&self) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let random = self.runtime.random() >> 32;
        format!("t{:x}-{random:x}-{number}", std::process::id())
    }

    pub(crate) fn url(&self, endpoint: &str, topic: &str, query: &str) -> Url {
        let text = format!(
            "pubsub://{PROJECT}/{topic}?create=missing&ack_deadline=10s&streams=2\
             &endpoint={endpoint}{query}"
        );
        // A later option of the query replaces an earlier one.
        let text = match query.contains("streams=") {
            true => text.replacen("&streams=2", "", 1),
            false => text,
        };
        Url::parse(&text).unwrap()
    }

    pub(crate) fn resource(&self, topic: &str, query: &str) -> Arc<dyn Resource> {
        self.resource_at(&self.endpoint, topic, query)
    }

    pub(crate) fn resource_at(&self, at: &str, topic: &str, query: &str) -> Arc<dyn Resource> {
        resource(self.url(at, topic, query).as_str())
    }

    pub(crate) fn without_create(&self, topic: &str) -> Arc<dyn Resource> {
        resource(&format!(
            "pubsub://{PROJECT}/{topic}?endpoint={}",
            self.endpoint
        ))
    }

    pub(crate) fn path(&self, kind: &str, name: &str) -> String {
        format!("projects/{PROJECT}/{kind}/{name}")
    }

    /// Returns Google's own client of topics.
    pub(crate) async fn topics(&self) -> TopicAdmin {
        TopicAdmin::builder()
            .with_endpoint(&self.endpoint)
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap()
    }

    /// Returns Google's own publisher.
    pub(crate) async fn publisher(&self, topic: &str) -> Publisher {
        let base = BasePublisher::builder()
            .with_endpoint(&self.endpoint)
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        base.publisher(self.path("topics", topic)).build()
    }

    /// Returns Google's own client of subscriptions.
    pub(crate) async fn subscriptions(&self) -> SubscriptionAdmin {
        SubscriptionAdmin::builder()
            .with_endpoint(&self.endpoint)
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap()
    }
}

pub(crate) fn url_options() -> Options {
    Options::new("streams.orders")
}

pub(crate) async fn queue(resource: &dyn Resource, runtime: &Runtime) -> Arc<dyn Queue> {
    match resource.source(runtime).await.unwrap() {
        Source::Queue(queue) => queue,
        _ => panic!("expected a queue"),
    }
}

pub(crate) async fn consumer(resource: &dyn Resource, runtime: &Runtime) -> Arc<dyn BatchConsumer> {
    let queue = queue(resource, runtime).await;
    let options = QueueOptions::new("group".into());
    aqueduct_queue::open(&*queue, options, runtime)
        .await
        .unwrap()
}

/// Creates a topic for each case: on an emulator of its own, since faults concern a whole emulator, or on
/// the endpoint of the environment.
pub(crate) struct Topics {
    name: String,
    endpoint: Option<String>,
    /// Further options of the streams.
    options: &'static str,
    made: AtomicU64,
    /// Where nothing exists.
    empty: PubSub,
    /// Where nothing is allowed.
    denying: PubSub,
}

impl Topics {
    pub(crate) async fn new(options: &'static str) -> Self {
        let endpoint = endpoint();
        let at = endpoint.as_deref().unwrap_or("the emulator");
        Self {
            name: format!("pubsub ({options}) at {at}"),
            endpoint,
            options,
            made: AtomicU64::new(0),
            empty: start().await,
            denying: start().await,
        }
    }

    fn url(&self, at: &str, topic: &str) -> String {
        format!(
            "pubsub://{PROJECT}/{topic}?create=missing&retention=1d&ack_deadline=10s\
             &scan_wait=2s&streams=2&endpoint={at}{}",
            self.options
        )
    }
}

#[async_trait]
impl Fixture for Topics {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, _: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let random = runtime.random() >> 40;
        let unique = format!("t{:x}-{random:x}-{number}", std::process::id());
        let emulator = match self.endpoint {
            None => Some(Arc::new(start().await)),
            Some(_) => None,
        };
        let at = match (&self.endpoint, &emulator) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, emulator) => emulator.as_ref().unwrap().endpoint(),
        };
        let url = self.url(&at, &unique);
        let dead_letters = resource(&self.url(&at, &format!("{unique}-dead")));
        let records = MemoryBackend::new().parse(
            "records",
            &Url::parse("memory:").unwrap(),
            Options::new("records"),
        )?;
        let subject = Subject::new(resource(&url))
            .with_peer(resource(&url))
            .with_dead_letters(dead_letters)
            .with_idempotency(records);
        subject.stream.producer(runtime).await?;
        Ok(match emulator {
            Some(emulator) => subject.with_faults(Arc::new(Wire(emulator))),
            None => subject,
        })
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        let at = self.empty.endpoint();
        Some(resource(&format!(
            "pubsub://{PROJECT}/missing?endpoint={at}"
        )))
    }

    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        for _ in 0..20 {
            self.denying
                .inject("GetTopic", PubSubFault::PermissionDenied);
        }
        let at = self.denying.endpoint();
        Some(resource(&format!(
            "pubsub://{PROJECT}/denied?endpoint={at}"
        )))
    }

    fn lacks(&self) -> Vec<Lack> {
        match self.endpoint {
            Some(_) if self.options.contains("exactly_once") => vec![Lack {
                case: "out_of_order_acks_resume_at_the_first_unsettled",
                reason: "Google's emulator orders the acks of messages without a key too",
            }],
            _ => Vec::new(),
        }
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        timing.backlog = 5_000;
        // A message that is on its way to a stream which closes comes again when its ack deadline ends,
        // ten seconds: well within four of these.
        timing.lease_ttl = Duration::from_secs(5);
        timing.deadline *= 6;
        timing.case *= 6;
        timing
    }
}

/// Injects faults into one emulator, which lives as long.
struct Wire(Arc<PubSub>);

#[async_trait]
impl Faults for Wire {
    fn offers(&self, fault: Fault) -> bool {
        matches!(
            fault,
            // The service's `Unavailable` does not tell whether anything was stored.
            Fault::Throttle | Fault::LoseSendResponse | Fault::Cut
        )
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        let exhausted = PubSubFault::Status(8, "over the quota".to_owned());
        match fault {
            Fault::Throttle => self.0.inject("Publish", exhausted),
            Fault::LoseSendResponse => self.0.inject("Publish", PubSubFault::LoseResponse),
            _ => self.0.cut_connections(),
        }
        Ok(())
    }
}

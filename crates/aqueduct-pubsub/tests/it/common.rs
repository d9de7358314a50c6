//! Topics to test: on the emulator in process, or on an endpoint.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_conformance::{Fixture, Subject, Timing};
use aqueduct_core::{Backend, Options, Resource, Result, Runtime, StreamSpec, Url};
use aqueduct_memory::MemoryBackend;
use aqueduct_pubsub::PubSubBackend;
use async_trait::async_trait;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::SubscriptionAdmin;

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

/// Runs a test on the emulator; without one it says so.
pub(crate) fn with_emulator<F: Future<Output = ()>>(test: impl FnOnce(Place) -> F) {
    let Some(endpoint) = endpoint() else {
        println!("skipped: AQUEDUCT_TEST_PUBSUB_ENDPOINT names no emulator");
        return;
    };
    let (tokio, runtime) = real_time();
    let place = Place {
        endpoint,
        runtime,
        made: AtomicU64::new(0),
    };
    tokio.block_on(test(place));
}

/// An emulator.
pub(crate) struct Place {
    pub(crate) endpoint: String,
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

    /// Returns Google's own client.
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

/// Creates a topic for each case.
pub(crate) struct Topics {
    name: String,
    endpoint: String,
    /// Further options of the streams.
    options: &'static str,
    made: AtomicU64,
}

impl Topics {
    pub(crate) fn at(endpoint: &str, options: &'static str) -> Self {
        Self {
            name: format!("pubsub ({options}) at {endpoint}"),
            endpoint: endpoint.to_owned(),
            options,
            made: AtomicU64::new(0),
        }
    }

    fn url(&self, topic: &str) -> String {
        format!(
            "pubsub://{PROJECT}/{topic}?create=missing&retention=1d&ack_deadline=10s\
             &scan_wait=300ms&streams=2&endpoint={}{}",
            self.endpoint, self.options
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
        let unique = format!(
            "t{:x}-{:x}-{number}",
            std::process::id(),
            runtime.random() >> 40
        );
        let url = self.url(&unique);
        let dead_letters = resource(&self.url(&format!("{unique}-dead")));
        let records = MemoryBackend::new().parse(
            "records",
            &Url::parse("memory:").unwrap(),
            Options::new("records"),
        )?;
        let subject = Subject::new(resource(&url))
            .with_peer(resource(&url))
            .with_letters(dead_letters)
            .with_idempotency(records);
        subject.stream.producer(runtime).await?;
        Ok(subject)
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        let endpoint = &self.endpoint;
        Some(resource(&format!(
            "pubsub://{PROJECT}/missing?endpoint={endpoint}"
        )))
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        timing.backlog = 5_000;
        timing.deadline *= 3;
        timing.case *= 3;
        timing
    }
}

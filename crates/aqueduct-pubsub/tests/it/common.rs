//! Topics to test: on the emulator in process, or on an endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_conformance::{Fixture, Subject, Timing};
use aqueduct_core::{Backend, Options, Resource, Result, Runtime, StreamSpec, Url};
use aqueduct_memory::MemoryBackend;
use aqueduct_pubsub::PubSubBackend;
use async_trait::async_trait;

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
            "pubsub://test-project/{topic}?create=missing&retention=1d&ack_deadline=10s\
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
            "pubsub://test-project/missing?endpoint={endpoint}"
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

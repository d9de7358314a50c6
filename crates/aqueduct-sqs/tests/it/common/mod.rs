//! Queues to test: on the emulator in process, or on an endpoint.

#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aqueduct_aws::Aws;
use aqueduct_conformance::{Fault, Faults, Fixture, Lack, Subject, Timing};
use aqueduct_core::{Backend, Options, Resource, Result, Runtime, StreamSpec, Url};
use aqueduct_emulators::{HttpFault, HttpFaults, Sqs, SqsLimits, test_credentials};
use aqueduct_memory::MemoryBackend;
use aqueduct_sqs::SqsBackend;
use async_trait::async_trait;

pub(crate) fn endpoint() -> Option<String> {
    std::env::var("AQUEDUCT_TEST_SQS_ENDPOINT").ok()
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

/// Returns an emulator with limits that do not slow down tests.
pub(crate) fn sqs(runtime: &Runtime) -> Sqs {
    let mut limits = SqsLimits::default();
    limits.deleted_name = Duration::ZERO;
    Sqs::with_limits(runtime, limits)
}

/// Returns clients of the emulator, with injectable faults.
pub(crate) fn aws(sqs: &Sqs) -> (Aws, HttpFaults) {
    let faults = HttpFaults::over(sqs.client());
    let aws = Aws::new()
        .with_http_client(faults.client())
        .with_credentials(test_credentials());
    (aws, faults)
}

/// Parses the resource of a URL, with short timings.
pub(crate) fn resource(aws: &Aws, url: &str) -> Arc<dyn Resource> {
    let url = Url::parse(url).unwrap();
    let mut options = Options::new("streams.orders");
    if !url.query().is_some_and(|query| query.contains("region=")) {
        options = options.with("region", "us-east-1");
    }
    SqsBackend::with(aws.clone())
        .parse("orders", &url, options)
        .unwrap()
}

/// Creates a queue for each case.
#[derive(Debug)]
pub(crate) struct Queues {
    name: String,
    fifo: bool,
    sqs: Option<Sqs>,
    endpoint: Option<String>,
    made: AtomicU64,
}

impl Queues {
    pub(crate) fn emulated(runtime: &Runtime, fifo: bool) -> Self {
        Self {
            name: format!("sqs ({}) on the emulator", kind(fifo)),
            fifo,
            sqs: Some(sqs(runtime)),
            endpoint: None,
            made: AtomicU64::new(0),
        }
    }

    pub(crate) fn at(endpoint: &str, fifo: bool) -> Self {
        Self {
            name: format!("sqs ({}) at {endpoint}", kind(fifo)),
            fifo,
            sqs: None,
            endpoint: Some(endpoint.to_owned()),
            made: AtomicU64::new(0),
        }
    }

    fn aws(&self) -> (Aws, Option<HttpFaults>) {
        match &self.sqs {
            Some(sqs) => {
                let (aws, faults) = aws(sqs);
                (aws, Some(faults))
            }
            None => (Aws::new().with_credentials(test_credentials()), None),
        }
    }

    fn url(&self, name: &str, fifo: bool) -> String {
        let suffix = if fifo { ".fifo" } else { "" };
        let endpoint = match &self.endpoint {
            Some(endpoint) => format!("&endpoint={endpoint}"),
            // The SDK's time-outs do not run on the virtual clock.
            None => "&request_timeout=1h&connect_timeout=1h".to_owned(),
        };
        format!("sqs://{name}{suffix}?create=missing&visibility=2s{endpoint}")
    }
}

#[async_trait]
impl Fixture for Queues {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, _: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let unique = match self.endpoint {
            Some(_) => format!("t{:x}-{number}", std::process::id()),
            None => format!("t{number}"),
        };
        let (aws, faults) = self.aws();
        let (peer, _) = self.aws();
        let stream = self.url(&unique, self.fifo);
        let dead_letters = resource(&peer, &self.url(&format!("{unique}-dlq"), self.fifo));
        let records = MemoryBackend::new().parse(
            "records",
            &Url::parse("memory:").unwrap(),
            Options::new("records"),
        )?;
        let subject = Subject::new(resource(&aws, &stream))
            .with_peer(resource(&peer, &stream))
            .with_dead_letters(dead_letters)
            .with_idempotency(records);
        subject.stream.producer(runtime).await?;
        Ok(match faults {
            Some(faults) => subject.with_faults(Arc::new(Wire(faults))),
            None => subject,
        })
    }

    fn lacks(&self) -> Vec<Lack> {
        // Sends thousands of requests in sequence, at tens of milliseconds each.
        let slow = |case| Lack {
            case,
            reason: "it takes minutes at the pace of an endpoint",
        };
        match self.endpoint {
            Some(_) => [
                "ten_keys_in_order_under_retries",
                "lost_responses_keep_order_when_resent",
            ]
            .map(slow)
            .to_vec(),
            None => Vec::new(),
        }
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        let url = self
            .url("missing", self.fifo)
            .replace("create=missing", "create=never");
        Some(resource(&self.aws().0, &url))
    }

    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        let sqs = self.sqs.as_ref()?;
        let (aws, _) = aws(sqs);
        let aws = aws.with_credentials(Sqs::denied_credentials());
        Some(resource(&aws, &self.url("denied", self.fifo)))
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        // Smaller than the default: a request holds at most ten messages.
        timing.backlog = 1_000;
        if self.endpoint.is_some() {
            // Some endpoints take tens of milliseconds per request.
            timing.deadline *= 5;
            timing.case *= 5;
        }
        timing
    }
}

fn kind(fifo: bool) -> &'static str {
    if fifo { "fifo" } else { "standard" }
}

/// Injects faults.
struct Wire(HttpFaults);

#[async_trait]
impl Faults for Wire {
    fn offers(&self, fault: Fault) -> bool {
        matches!(
            fault,
            Fault::Throttle | Fault::Refuse | Fault::LoseSendResponse | Fault::Cut
        )
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        let Self(wire) = self;
        let send = "SendMessageBatch";
        match fault {
            Fault::Throttle => {
                let throttled = HttpFault::Error(403, "RequestThrottled", "too fast");
                wire.inject(send, throttled);
            }
            Fault::Refuse => wire.inject(send, HttpFault::Refuse),
            Fault::LoseSendResponse => wire.inject(send, HttpFault::LoseAnswer),
            _ => {
                wire.inject_once(send, HttpFault::Refuse);
                for operation in [
                    "ReceiveMessage",
                    "DeleteMessageBatch",
                    "ChangeMessageVisibilityBatch",
                ] {
                    wire.inject_once(operation, HttpFault::LoseAnswer);
                }
            }
        }
        Ok(())
    }
}

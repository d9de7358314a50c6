//! SQS in process, over its JSON protocol.

mod digest;
mod fault;
mod message;
mod queue;
mod server;
mod service;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_core::Runtime;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use event_listener::Event as Signal;
use futures::future::{Either, select};
use serde_json::Value;

use self::fault::Fault;
pub use self::server::SqsServer;
use self::service::{Answer, Service};

/// Emulates the standard and FIFO queues of SQS. Clones share state. Time and randomness come
/// from the runtime, so it also runs on a virtual clock.
///
/// A standard queue returns its messages in no exact order. Every access key is accepted except the
/// one of [`Sqs::denied_credentials`]. Policies, encryption and permissions are accepted and
/// ignored; retention is not enforced.
#[derive(Clone)]
pub struct Sqs(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    service: Mutex<Service>,
    /// The queues, by name.
    changed: Mutex<BTreeMap<String, Arc<Signal>>>,
}

/// Limits of the service that a test may want to be lower.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqsLimits {
    /// The most messages of a standard queue that are in flight. Default: 120,000.
    pub standard_in_flight: usize,
    /// The most messages of a FIFO queue that are in flight. Default: 120,000.
    pub fifo_in_flight: usize,
    /// How long the name of a deleted queue cannot be reused. Default: 60 s.
    pub deleted_name: Duration,
}

impl Default for SqsLimits {
    fn default() -> Self {
        Self {
            standard_in_flight: 120_000,
            fifo_in_flight: 120_000,
            deleted_name: Duration::from_secs(60),
        }
    }
}

impl Sqs {
    /// Creates an emulator without queues.
    pub fn new(runtime: &Runtime) -> Self {
        Self::with_limits(runtime, SqsLimits::default())
    }

    /// Creates an emulator without queues, with those limits.
    pub fn with_limits(runtime: &Runtime, limits: SqsLimits) -> Self {
        Self(Arc::new(Shared {
            runtime: runtime.clone(),
            service: Mutex::new(Service::new(runtime.clone(), limits)),
            changed: Mutex::default(),
        }))
    }

    /// Returns credentials that it refuses.
    pub fn denied_credentials() -> SharedCredentialsProvider {
        let denied = Credentials::new("denied", "denied", None, None, "emulator");
        SharedCredentialsProvider::new(denied)
    }

    /// Returns a client for `Aws::with_http_client` that calls the emulator in process.
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    fn changed(&self, queue: &str) -> Arc<Signal> {
        let mut changed = self
            .0
            .changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        changed.entry(queue.to_owned()).or_default().clone()
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        let service = &self.0.service;
        service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles one request; returns the status, the error code for the header, and the body.
    async fn answer(&self, request: Request) -> (u16, Option<String>, String) {
        match self.serve(request).await {
            Ok(answer) => (200, None, answer.to_string()),
            Err(fault) => {
                let code = format!("{};Sender", fault.code);
                (fault.status, Some(code), fault.body().to_string())
            }
        }
    }

    async fn serve(&self, request: Request) -> Result<Value, Fault> {
        // `AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/sqs/aws4_request, ...`
        if request.authorization.contains("Credential=denied/") {
            return Err(Fault::forbidden());
        }
        let Some(operation) = request.target.strip_prefix("AmazonSQS.") else {
            return Err(Fault::new("InvalidAction", "The action is not valid."));
        };
        let body: Value = serde_json::from_slice(&request.body)
            .map_err(|_| Fault::new("SerializationException", "The body is not valid JSON."))?;
        let began = self.0.runtime.now();
        loop {
            let queue = body["QueueUrl"].as_str().unwrap_or_default();
            let changed = self.changed(queue.rsplit('/').next().unwrap_or_default());
            let changed = changed.listen();
            let (answer, touched) = {
                let mut service = self.service();
                let answer = service.call(&request.host, operation, &body);
                (answer, service.take_touched())
            };
            for queue in touched {
                self.changed(&queue).notify(usize::MAX);
            }
            let answer = answer?;
            let (due, most, empty) = match answer {
                Answer::Now(answer) => return Ok(answer),
                Answer::Wait { due, most, empty } => (due, most, empty),
            };
            let end = began + most;
            if self.0.runtime.now() >= end {
                return Ok(empty);
            }
            let wake = due.map_or(end, |due| due.min(end));
            match select(changed, self.0.runtime.sleep_until(wake)).await {
                Either::Left(_) | Either::Right(_) => {}
            }
        }
    }
}

/// The parts of a request that matter.
struct Request {
    /// Scheme and authority, for the URLs of queues.
    host: String,
    target: String,
    authorization: String,
    body: Vec<u8>,
}

impl std::fmt::Debug for Sqs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sqs")
    }
}

impl HttpClient for Sqs {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Sqs {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let header = |name: &str| request.headers().get(name).unwrap_or_default().to_owned();
        let uri = request.uri();
        let authority = uri.split("://").nth(1).and_then(|it| it.split('/').next());
        let scheme = uri.split("://").next().unwrap_or("http");
        let request = Request {
            host: format!("{scheme}://{}", authority.unwrap_or("localhost")),
            target: header("x-amz-target"),
            authorization: header("authorization"),
            body: request.body().bytes().unwrap_or_default().to_vec(),
        };
        let sqs = self.clone();
        HttpConnectorFuture::new(async move {
            let (status, code, body) = sqs.answer(request).await;
            let status = status
                .try_into()
                .map_err(|error| ConnectorError::user(Box::new(error)))?;
            let mut response = HttpResponse::new(status, SdkBody::from(body));
            if let Some(code) = code {
                response.headers_mut().insert("x-amzn-query-error", code);
            }
            Ok(response)
        })
    }
}

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Credentials that every emulator accepts.
pub fn test_credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "emulator"))
}

/// A fault in one request of an AWS client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpFault {
    /// The connection fails: nothing is sent.
    Refuse,
    /// The request is served and its response is lost.
    LoseAnswer,
    /// The service responds with a status, error code and message, without effect.
    Error(u16, &'static str, &'static str),
    /// Another server responds, with status 200 and this body, without effect: a web page if it begins with
    /// `<`, JSON otherwise.
    Answer(&'static str),
    /// Status 200 with this content type and body, without effect.
    Body(&'static str, &'static [u8]),
    /// The response never comes, and the request is not served.
    Hang,
}

/// An HTTP client between an AWS client and its service that counts requests by operation and
/// injects faults. Clones share counts and faults.
#[derive(Clone, Debug)]
pub struct HttpFaults {
    inner: SharedHttpClient,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<(String, HttpFault)>,
    requests: BTreeMap<String, u64>,
}

impl HttpFaults {
    /// Wraps `inner` without faults.
    pub fn over(inner: SharedHttpClient) -> Self {
        Self {
            inner,
            state: Arc::default(),
        }
    }

    /// Returns the client for `Aws::with_http_client`.
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Adds a fault for the next request of `operation`, such as `PutRecords`. Faults apply in order.
    pub fn inject(&self, operation: &str, fault: HttpFault) {
        self.state().faults.push((operation.to_owned(), fault));
    }

    /// Adds a fault for the next request of `operation` unless one is pending: a connection that is
    /// cut again before anything used it is cut once.
    pub fn inject_once(&self, operation: &str, fault: HttpFault) {
        let mut state = self.state();
        if state.faults.iter().all(|(of, _)| of != operation) {
            state.faults.push((operation.to_owned(), fault));
        }
    }

    /// Returns the number of requests of `operation`, including failed ones.
    pub fn requests(&self, operation: &str) -> u64 {
        self.state().requests.get(operation).copied().unwrap_or(0)
    }

    /// Returns the number of requests by operation.
    pub fn all_requests(&self) -> BTreeMap<String, u64> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request and takes its fault, if any.
    fn next(&self, operation: &str) -> Option<HttpFault> {
        let mut state = self.state();
        *state.requests.entry(operation.to_owned()).or_default() += 1;
        let at = state.faults.iter().position(|(of, _)| of == operation)?;
        Some(state.faults.remove(at).1)
    }
}

impl HttpClient for HttpFaults {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(FaultyConnector {
            faults: self.clone(),
            inner: self.inner.http_connector(settings, components),
        })
    }
}

#[derive(Debug)]
struct FaultyConnector {
    faults: HttpFaults,
    inner: SharedHttpConnector,
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // `X-Amz-Target: Kinesis_20131202.PutRecords`
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        match self.faults.next(operation) {
            None => self.inner.call(request),
            Some(HttpFault::Refuse) => HttpConnectorFuture::ready(Err(refused())),
            Some(HttpFault::LoseAnswer) => {
                let answer = self.inner.call(request);
                HttpConnectorFuture::new(async move {
                    answer.await?;
                    Err(ConnectorError::io("the connection was cut".into()))
                })
            }
            Some(HttpFault::Error(status, code, message)) => HttpConnectorFuture::ready(answer(
                status,
                JSON,
                format!(r#"{{"__type":"{code}","message":"{message}"}}"#).into_bytes(),
            )),
            Some(HttpFault::Answer(body)) => {
                let content_type = match body.starts_with('<') {
                    true => "text/html",
                    false => JSON,
                };
                HttpConnectorFuture::ready(answer(200, content_type, body.into()))
            }
            Some(HttpFault::Body(content_type, body)) => {
                HttpConnectorFuture::ready(answer(200, content_type, body.into()))
            }
            Some(HttpFault::Hang) => HttpConnectorFuture::new(std::future::pending()),
        }
    }
}

fn refused() -> ConnectorError {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    ConnectorError::io(refused.into())
}

/// The content type of the services' responses.
const JSON: &str = "application/x-amz-json-1.1";

fn answer(
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
) -> Result<HttpResponse, ConnectorError> {
    let status = status
        .try_into()
        .map_err(|error| ConnectorError::user(Box::new(error)))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", content_type);
    Ok(response)
}

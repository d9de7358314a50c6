use std::fmt;
use std::sync::{Arc, Mutex};

use aqueduct_aws::{Aws, AwsOptions, error};
use aqueduct_core::{Options, Result};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) uri: String,
    pub(crate) authorization: String,
    pub(crate) token: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn host(&self) -> &str {
        let host = self.uri.split("://").nth(1).unwrap_or_default();
        host.split('/').next().unwrap_or_default()
    }

    /// Whether it was signed with that access key.
    pub(crate) fn is_signed_by(&self, key: &str) -> bool {
        self.authorization.contains(&format!("Credential={key}/"))
    }
}

/// A status and a body, or nothing where there is no connection.
pub(crate) type Response = Option<(u16, String)>;

type Script = dyn Fn(&Request) -> Response + Send + Sync;

/// Responds to requests from a script and keeps them.
#[derive(Clone)]
pub(crate) struct Scripted {
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            seen: Arc::default(),
        }
    }

    /// Responds to every request with success.
    pub(crate) fn ok() -> Self {
        Self::new(|_| Some((200, r#"{"StreamNames":[],"HasMoreStreams":false}"#.into())))
    }

    pub(crate) fn aws(&self) -> Aws {
        Aws::new().with_http_client(SharedHttpClient::new(self.clone()))
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Request {
        self.requests().last().unwrap().clone()
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl HttpClient for Scripted {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Scripted {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let header = |name| request.headers().get(name).unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let seen = Request {
            uri: request.uri().to_owned(),
            authorization: header("authorization"),
            token: header("x-amz-security-token"),
            body: String::from_utf8_lossy(body).into_owned(),
        };
        let response = (self.script)(&seen);
        self.seen.lock().unwrap().push(seen);
        HttpConnectorFuture::ready(match response {
            Some((status, body)) => Ok(HttpResponse::new(
                status.try_into().unwrap(),
                SdkBody::from(body),
            )),
            None => Err(ConnectorError::io(
                std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into(),
            )),
        })
    }
}

/// The options of those keys and values.
pub(crate) fn options(given: &[(&'static str, &str)]) -> AwsOptions {
    let mut options = Options::new("streams.orders");
    for (name, value) in given {
        options = options.with(*name, *value);
    }
    let read = AwsOptions::read(&mut options).unwrap();
    options.finish().unwrap();
    read
}

/// Asks Kinesis something, as `aws` and those options have it.
pub(crate) async fn ask(aws: &Aws, given: &[(&'static str, &str)]) -> Result<()> {
    let config = aws.config(&options(given)).await?;
    let asked = aws_sdk_kinesis::Client::new(&config).list_streams().send();
    let responded = asked.await;
    responded.map_err(|failed| error("ListStreams", failed))?;
    Ok(())
}

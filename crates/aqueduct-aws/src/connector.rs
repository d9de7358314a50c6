use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;

use crate::clock::ServiceClock;
use crate::codes::{tells_of_the_clock, wants_new_credentials};
use crate::http::DialError;

/// Set when a service refuses the credentials of a request as expired or unknown.
pub(crate) type Refused = Arc<AtomicBool>;

/// An HTTP client whose errors name the endpoint, and that notices refused credentials.
/// The SDK does neither: its errors name no host, and it keeps cached credentials.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    inner: SharedHttpClient,
    refused: Refused,
    clock: ServiceClock,
    /// Whether a web page is an error. Metadata services answer some requests with one.
    refuses_pages: bool,
}

impl Watched {
    /// Watches the client of a service.
    pub(crate) fn service(inner: SharedHttpClient, refused: Refused, clock: ServiceClock) -> Self {
        Self {
            inner,
            refused,
            clock,
            refuses_pages: true,
        }
    }

    /// Watches the client of a provider of credentials.
    pub(crate) fn credentials(inner: SharedHttpClient, clock: ServiceClock) -> Self {
        Self {
            inner,
            clock,
            // The chain is created anew after a refusal anyway.
            refused: Refused::default(),
            refuses_pages: false,
        }
    }
}

impl HttpClient for Watched {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(WatchedConnector {
            inner: self.inner.http_connector(settings, components),
            refused: self.refused.clone(),
            clock: self.clock.clone(),
            refuses_pages: self.refuses_pages,
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct WatchedConnector {
    inner: SharedHttpConnector,
    refused: Refused,
    clock: ServiceClock,
    refuses_pages: bool,
}

impl HttpConnector for WatchedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri().to_owned();
        let (refused, clock) = (self.refused.clone(), self.clock.clone());
        let refuses_pages = self.refuses_pages;
        let answering = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            match answering.await {
                Ok(answer) if refuses_pages && is_page(&answer) => {
                    let page = WebPage {
                        endpoint: origin(&uri).to_owned(),
                        status: answer.status().as_u16(),
                    };
                    Err(ConnectorError::other(Box::new(page), None))
                }
                Ok(answer) if matches!(answer.status().as_u16(), 400 | 401 | 403) => {
                    look(answer, &refused, &clock).await
                }
                Ok(answer) => Ok(answer),
                Err(failed) => Err(NotAnswered::wrap(&uri, failed)),
            }
        })
    }
}

/// Checks whether a refusal concerns the credentials. Refusals are small and never streamed.
async fn look(
    answer: HttpResponse,
    refused: &Refused,
    clock: &ServiceClock,
) -> Result<HttpResponse, ConnectorError> {
    let mut answer = answer;
    let body = std::mem::replace(answer.body_mut(), SdkBody::empty());
    let body = match ByteStream::new(body).collect().await {
        Ok(body) => body.into_bytes(),
        Err(cut) => return Err(ConnectorError::io(cut.into())),
    };
    if wants_new_credentials(&body) {
        refused.store(true, Ordering::Release);
    }
    if tells_of_the_clock(&body) {
        clock.correct(&answer);
    }
    *answer.body_mut() = SdkBody::from(body);
    Ok(answer)
}

fn is_page(answer: &HttpResponse) -> bool {
    let content_type = answer.headers().get("content-type").unwrap_or_default();
    content_type
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("text/html")
}

/// A web page instead of a response of the service.
#[derive(Debug)]
pub(crate) struct WebPage {
    /// Scheme, host and port.
    endpoint: String,
    pub(crate) status: u16,
}

impl fmt::Display for WebPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, status } = self;
        write!(
            f,
            "a web page (HTTP {status}, text/html) came instead of a response from {endpoint}: a proxy, a \
             portal or another server responds there; is `endpoint` right, and may this machine reach it?"
        )
    }
}

impl StdError for WebPage {}

/// A request without a response, and its endpoint.
#[derive(Debug)]
pub(crate) struct NotAnswered {
    /// Scheme, host and port.
    pub(crate) endpoint: String,
    /// Whether a connection was made: without one nothing was sent.
    pub(crate) connected: bool,
    source: ConnectorError,
}

impl NotAnswered {
    fn wrap(uri: &str, failed: ConnectorError) -> ConnectorError {
        let (timeout, user, io) = (failed.is_timeout(), failed.is_user(), failed.is_io());
        let other = failed.as_other();
        let here = Box::new(Self {
            endpoint: origin(uri).to_owned(),
            connected: was_connected(&failed),
            source: failed,
        });
        match () {
            () if timeout => ConnectorError::timeout(here),
            () if user => ConnectorError::user(here),
            () if io => ConnectorError::io(here),
            () => ConnectorError::other(here, other),
        }
    }
}

impl fmt::Display for NotAnswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.connected {
            true => write!(f, "no response from {}", self.endpoint),
            false => write!(f, "no connection to {}", self.endpoint),
        }
    }
}

impl StdError for NotAnswered {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

/// Returns `https://host:port` of a URI: paths and queries may hold private names.
fn origin(uri: &str) -> &str {
    let host = uri.find("://").map_or(0, |at| at + 3);
    let end = uri[host..]
        .find(['/', '?', '#'])
        .map_or(uri.len(), |at| host + at);
    &uri[..end]
}

fn was_connected(failed: &ConnectorError) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(failed);
    while let Some(error) = next {
        if let Some(client) = error.downcast_ref::<hyper_util::client::legacy::Error>()
            && client.is_connect()
        {
            return false;
        }
        if error.is::<DialError>() {
            return false;
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
            if matches!(
                io.kind(),
                ConnectionRefused | HostUnreachable | NetworkUnreachable
            ) {
                return false;
            }
        }
        // This error type is private to the SDK's HTTP client, which an application may bring.
        if error.to_string().starts_with("HTTP connect timeout") {
            return false;
        }
        next = error.source();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path() {
        for (uri, expected) in [
            ("http://127.0.0.1:4566/", "http://127.0.0.1:4566"),
            ("https://host/a/queue?x=1", "https://host"),
            ("https://host", "https://host"),
            ("/relative", ""),
        ] {
            assert_eq!(origin(uri), expected);
        }
    }
}

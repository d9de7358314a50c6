use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::transport::Overloaded;

/// Makes HTTP clients with TLS by rustls and ring, and the certificates of the platform.
#[derive(Debug)]
pub(crate) struct Connector {
    /// The limit for one request.
    pub(crate) timeout: Duration,
}

/// The limit for a connection: a server that is there responds within a few round trips.
const CONNECT: Duration = Duration::from_secs(5);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_platform_verifier())
            .map_err(cannot_connect)?
            .with_no_client_auth();
        // The endpoints that hand out credentials to virtual machines have no TLS.
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = reqwest::Client::builder()
            .user_agent(concat!("aqueduct/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .https_only(plain.as_deref() != Some("true"))
            .timeout(self.timeout)
            .connect_timeout(CONNECT.min(self.timeout))
            .build()
            .map_err(cannot_connect)?;
        Ok(HttpClient::new(Service(client)))
    }
}

fn cannot_connect(error: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic {
        store: "HTTP client",
        source: Box::new(error),
    }
}

#[derive(Debug)]
struct Service(reqwest::Client);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = HttpService::call(&self.0, request).await?;
        let status = response.status();
        if status.as_u16() != 429 && !status.is_server_error() {
            return Ok(response);
        }
        let headers = response.headers();
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let seconds = header("retry-after").and_then(|text| text.parse().ok());
        let overloaded = Overloaded {
            status: status.as_u16(),
            retry_after: seconds.map(Duration::from_secs),
            said: header("x-ms-error-code").unwrap_or_default().to_owned(),
        };
        Err(HttpError::new(HttpErrorKind::Unknown, overloaded))
    }
}

use std::fmt::Display;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Result, Runtime};
use google_cloud_auth::credentials::{Builder, Credentials, anonymous};
use google_cloud_gax::retry_policy::{Aip194Strict, NeverRetry, RetryPolicyExt as _};
use google_cloud_pubsub::client::{BasePublisher, Subscriber, SubscriptionAdmin, TopicAdmin};

use crate::config::{Config, Sending};

/// The time limit for finding credentials. A metadata server responds within milliseconds; without
/// one the client would retry for minutes.
const CREDENTIALS: Duration = Duration::from_secs(8);

/// The time limit of one call of administration, its retries included.
pub(crate) const CALL: Duration = Duration::from_secs(20);

/// Creates the service's clients.
#[derive(Clone)]
pub(crate) struct Connection {
    endpoint: Option<String>,
    credentials: Credentials,
    /// The clients spawn tasks of their own.
    tokio: tokio::runtime::Handle,
}

impl Connection {
    /// Finds endpoint and credentials, and checks that a token can be had.
    pub(crate) async fn open(
        config: &Config,
        credentials: Option<&Credentials>,
        runtime: &Runtime,
    ) -> Result<Self> {
        let tokio = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::config("Pub/Sub's client needs a Tokio runtime: open the stream within one")
        })?;
        install_crypto();
        let endpoint = match &config.endpoint {
            Some(endpoint) => Some(endpoint.to_string()),
            None => emulator_host(std::env::var("PUBSUB_EMULATOR_HOST").ok()),
        };
        let plain = endpoint
            .as_ref()
            .is_some_and(|it| it.starts_with("http://"));
        let credentials = match credentials {
            Some(credentials) => credentials.clone(),
            None if plain => anonymous::Builder::new().build(),
            None => default_credentials(runtime).await?,
        };
        Ok(Self {
            endpoint,
            credentials,
            tokio,
        })
    }

    /// Enters the Tokio runtime, as clients that spawn tasks need it.
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.tokio.enter()
    }

    pub(crate) async fn topics(&self) -> Result<TopicAdmin> {
        let mut builder = TopicAdmin::builder()
            .with_credentials(self.credentials.clone())
            .with_retry_policy(Aip194Strict.with_time_limit(CALL))
            .with_attempt_timeout(CALL);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder.build().await.map_err(not_built)
    }

    pub(crate) async fn subscriptions(&self) -> Result<SubscriptionAdmin> {
        let mut builder = SubscriptionAdmin::builder()
            .with_credentials(self.credentials.clone())
            .with_retry_policy(Aip194Strict.with_time_limit(CALL))
            .with_attempt_timeout(CALL);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder.build().await.map_err(not_built)
    }

    /// Creates a publisher whose requests are one attempt each.
    pub(crate) async fn publisher(&self, sending: &Sending) -> Result<BasePublisher> {
        let mut builder = BasePublisher::builder()
            .with_credentials(self.credentials.clone())
            .with_grpc_subchannel_count(sending.channels)
            .with_retry_policy(NeverRetry.with_time_limit(sending.publish_timeout));
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder.build().await.map_err(not_built)
    }

    /// Creates a subscriber, on a connection of its own.
    pub(crate) async fn subscriber(&self) -> Result<Subscriber> {
        let mut builder = Subscriber::builder().with_credentials(self.credentials.clone());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder.build().await.map_err(not_built)
    }
}

/// Installs ring where the application has installed no provider: the client is built without one.
fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails if another thread was faster: then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Returns the endpoint of an emulator, as Google's clients read it from the environment.
fn emulator_host(value: Option<String>) -> Option<String> {
    let value = value.filter(|host| !host.is_empty())?;
    Some(match value.starts_with("http") {
        true => value,
        false => format!("http://{value}"),
    })
}

async fn default_credentials(runtime: &Runtime) -> Result<Credentials> {
    let found = Builder::default().build();
    let found = found.map_err(|error| no_credentials(&error).with_source(error))?;
    let probe = found.headers(Default::default());
    match runtime.timeout(CREDENTIALS, "credentials", probe).await {
        Ok(Ok(_)) => Ok(found),
        Ok(Err(error)) => Err(no_credentials(&error).with_source(error)),
        Err(error) => Err(no_credentials(&error)),
    }
}

fn no_credentials(why: &dyn Display) -> Error {
    Error::new(
        ErrorKind::Denied,
        format!(
            "no usable Google credentials ({why}): set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth \
             application-default login`, or run where a metadata server has them; for an emulator set \
             PUBSUB_EMULATOR_HOST or `endpoint`"
        ),
    )
}

fn not_built(error: google_cloud_gax::client_builder::Error) -> Error {
    let text = format!("cannot create a Pub/Sub client: {error}");
    Error::new(ErrorKind::Denied, text).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulators_variable_is_read_as_googles_clients_do() {
        let host = |text: &str| emulator_host(Some(text.to_owned()));
        assert_eq!(
            host("localhost:8085").as_deref(),
            Some("http://localhost:8085")
        );
        assert_eq!(
            host("https://emulator").as_deref(),
            Some("https://emulator")
        );
        assert_eq!((host(""), emulator_host(None)), (None, None));
    }
}

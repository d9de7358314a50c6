use std::fmt;
use std::sync::Arc;

use aqueduct_core::{
    Admin, Backend, BatchProducer, Claims, Identity, OptionTable, Options, Resource, Result,
    Runtime, Source, StreamName, Url,
};
use async_trait::async_trait;

use crate::admin::EventHubsAdmin;
use crate::auth::SharedTokens;
use crate::config::{Config, Endpoint, Transport};
use crate::hub::Hub;
use crate::producer::EventHubsProducer;
use crate::reference;
use crate::source::EventHubsLog;

/// Opens event hubs, under `eventhubs://NAMESPACE/HUB` URLs.
#[derive(Clone, Default)]
pub struct EventHubsBackend {
    credential: Option<SharedTokens>,
}

impl EventHubsBackend {
    /// Creates a backend for hubs with a connection string, in their configuration or in the
    /// environment variable `EVENTHUBS_CONNECTION_STRING`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a backend that opens hubs with tokens of Microsoft Entra ID. The URL names the namespace. A
    /// hub with a `connection_string` of its own uses that instead.
    ///
    /// ```no_run
    /// # fn with(credential: std::sync::Arc<dyn azure_core::credentials::TokenCredential>) {
    /// // Any credential, such as `azure_identity::DeveloperToolsCredential::new(None)?`.
    /// let backend = aqueduct_eventhubs::EventHubsBackend::with_credential(credential);
    /// # }
    /// ```
    #[cfg(feature = "entra")]
    pub fn with_credential(credential: Arc<dyn azure_core::credentials::TokenCredential>) -> Self {
        Self {
            credential: Some(Arc::new(crate::auth::Entra(credential))),
        }
    }
}

impl Backend for EventHubsBackend {
    fn schemes(&self) -> &[&'static str] {
        &["eventhubs"]
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        Ok(Arc::new(EventHubsResource {
            config: Config::parse(name, url, options)?,
            credential: self.credential.clone(),
        }))
    }

    fn options(&self) -> Vec<OptionTable> {
        reference::tables()
    }
}

impl fmt::Debug for EventHubsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventHubsBackend").finish_non_exhaustive()
    }
}

struct EventHubsResource {
    config: Config,
    credential: Option<SharedTokens>,
}

impl EventHubsResource {
    fn hub(&self, runtime: &Runtime) -> Result<Arc<Hub>> {
        let credential = self.credential.as_ref();
        Ok(Arc::new(Hub::new(
            &self.config,
            &self.describe(),
            credential,
            runtime,
        )?))
    }

    /// Returns the namespace, if the configuration says it.
    fn namespace(&self) -> Option<&str> {
        let config = &self.config;
        let found = config.connection_string.as_ref().map(|it| &it.host);
        config.namespace.as_ref().or(found).map(|it| it.as_str())
    }
}

#[async_trait]
impl Resource for EventHubsResource {
    fn describe(&self) -> String {
        match self.namespace() {
            Some(namespace) => format!("eventhubs://{namespace}/{}", self.config.hub),
            None => format!("eventhubs:{}", self.config.hub),
        }
    }

    fn identity(&self) -> Identity {
        let namespace = self.namespace().map(|it| it.to_ascii_lowercase().into());
        let endpoint = self.config.endpoint.as_ref();
        // The port of AMQP, however the service is reached: a hub is the same over a WebSocket.
        let port = |it: &Endpoint| it.port(Transport::Amqp);
        let endpoint = endpoint.map(|it| format!("{}:{}", it.host, port(it)).into());
        // The service compares names without case.
        let hub = self.config.hub.as_str().to_ascii_lowercase();
        Identity::new(format!("eventhubs:{hub}"))
            .with("namespace", namespace)
            .with("endpoint", endpoint)
    }

    fn stream(&self) -> &StreamName {
        &self.config.hub
    }

    fn claims(&self) -> Claims {
        EventHubsLog::claims()
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        Ok(Arc::new(EventHubsProducer::open(self.hub(runtime)?).await?))
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let log = EventHubsLog::open(self.hub(runtime)?).await?;
        Ok(Source::Log(Arc::new(log)))
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        Ok(Arc::new(EventHubsAdmin::new(self.hub(runtime)?)))
    }
}

use std::fmt;
use std::sync::Arc;

use aqueduct_core::{
    Admin, Backend, BatchProducer, Capabilities, Capability, Claim, Claims, DeadLetterStore,
    Identity, Limits, OptionTable, Options, Resource, Result, Runtime, SmallStr, Source,
    StreamName, Url,
};
use async_trait::async_trait;
use google_cloud_auth::credentials::Credentials;

use crate::admin::{PubSubAdmin, open_topic};
use crate::config::Config;
use crate::connection::Connection;
use crate::dead_letters::PubSubDeadLetters;
use crate::producer::{CALL, LARGEST, PubSubProducer, Publisher};
use crate::reference;
use crate::service::Service;
use crate::source::PubSubSource;

/// Topics of Google Pub/Sub, under `pubsub://PROJECT/TOPIC` URLs.
#[derive(Clone, Default)]
pub struct PubSubBackend {
    credentials: Option<Credentials>,
}

impl PubSubBackend {
    /// Creates a backend that finds credentials as Google's libraries do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a backend that uses `credentials`.
    pub fn with_credentials(credentials: Credentials) -> Self {
        Self {
            credentials: Some(credentials),
        }
    }
}

impl Backend for PubSubBackend {
    fn schemes(&self) -> &[&'static str] {
        &["pubsub"]
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        Ok(Arc::new(PubSubResource {
            credentials: self.credentials.clone(),
            config: Config::parse(name, url, options)?,
        }))
    }

    fn options(&self) -> Vec<OptionTable> {
        reference::tables()
    }
}

impl fmt::Debug for PubSubBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubBackend").finish_non_exhaustive()
    }
}

struct PubSubResource {
    credentials: Option<Credentials>,
    config: Config,
}

impl PubSubResource {
    async fn connect(&self, runtime: &Runtime) -> Result<(Connection, Service)> {
        let connection = Connection::open(&self.config, self.credentials.as_ref(), runtime).await?;
        let service = Service::new(&connection, &self.config, runtime).await?;
        Ok((connection, service))
    }

    fn capabilities(&self) -> Capabilities {
        let claims = self.claims();
        let claims = match claims.get(Capability::KeyOrder) {
            // A subscription decides; what only sends keeps the order.
            Claim::WhenOpened => claims.with(Capability::KeyOrder, Claim::Yes),
            _ => claims,
        };
        let replay = no("it depends on the group's subscription");
        Capabilities {
            claims: claims.with(Capability::Replay, replay),
            limits: Limits {
                event_bytes: Some(LARGEST),
                batch_events: Some(CALL),
                batch_bytes: None,
            },
        }
    }
}

#[async_trait]
impl Resource for PubSubResource {
    fn describe(&self) -> String {
        format!("pubsub://{}/{}", self.config.project, self.config.topic)
    }

    fn stream(&self) -> &StreamName {
        &self.config.topic
    }

    fn identity(&self) -> Identity {
        Identity::new(self.describe()).with("endpoint", self.config.endpoint.clone())
    }

    /// Dead letters are messages: every subscription of the topic receives them.
    fn dead_letters_are_events(&self) -> bool {
        true
    }

    fn claims(&self) -> Claims {
        let claims = Claims::of(&[
            Capability::DelayedNack,
            Capability::Durable,
            Capability::Shared,
            Capability::DeadLetters,
            Capability::Admin,
        ]);
        let order = match self.config.sending.ordering {
            true => Claim::WhenOpened,
            false => no("ordering = \"false\" sends no ordering keys"),
        };
        let attempts = match self.config.reading.count_receipts {
            false => Claim::Yes,
            true => no("attempts = \"receipts\" also counts messages that only waited"),
        };
        let groups = match self.config.has_groups() {
            true => Claim::Yes,
            false => no("`subscription` names one for all groups, which share its messages"),
        };
        [
            (Capability::KeyOrder, order),
            (Capability::HandlerAttempts, attempts),
            (Capability::Groups, groups),
            (Capability::Replay, Claim::WhenOpened),
            (
                Capability::Lag,
                no("the service tells the lag to Cloud Monitoring alone"),
            ),
            (
                Capability::StartAtTime,
                no("a new subscription begins with the oldest message that its topic keeps"),
            ),
            (Capability::Positions, no("a topic has no positions")),
            (Capability::Resharding, no("a topic has no partitions")),
        ]
        .into_iter()
        .fold(claims, |claims, (capability, claim)| {
            claims.with(capability, claim)
        })
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        let (connection, service) = self.connect(runtime).await?;
        open_topic(&service, &self.config).await?;
        let base = connection.publisher(&self.config.sending).await?;
        let topic = service.topic_path(self.config.topic.as_str());
        let sending = &self.config.sending;
        let publisher = Publisher::new(connection, base, topic, sending, runtime);
        let producer = PubSubProducer::new(publisher, sending.clone(), self.capabilities());
        Ok(Arc::new(producer))
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let (connection, service) = self.connect(runtime).await?;
        let topic_keeps = open_topic(&service, &self.config).await?;
        Ok(Source::Queue(Arc::new(PubSubSource {
            connection,
            service,
            config: self.config.clone(),
            credentials: self.credentials.clone(),
            capabilities: self.capabilities(),
            topic_keeps,
            runtime: runtime.clone(),
        })))
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        let (connection, service) = self.connect(runtime).await?;
        open_topic(&service, &self.config).await?;
        let store = PubSubDeadLetters::open(connection, service, self.config.clone(), runtime);
        Ok(Arc::new(store.await?))
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        let (_, service) = self.connect(runtime).await?;
        Ok(Arc::new(PubSubAdmin::new(service, self.config.clone())))
    }
}

pub(crate) fn no(why: &'static str) -> Claim {
    Claim::No(SmallStr::literal(why))
}

use std::sync::Arc;

use aqueduct_core::{Effect, Error, ErrorKind, PartitionId, Result, Runtime, SmallStr};
use tokio::sync::Mutex;

use crate::auth::{Presigned, SharedKey, SharedTokens};
use crate::config::{
    Config, ConnectionString, Endpoint, SharedAccess, VARIABLE, parse_connection_string,
};
use crate::transport::{Connector, HubProperties, Management, PartitionProperties};

/// An event hub: how to connect to it, and its properties.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) connector: Connector,
    /// The name in errors and of foreign events.
    pub(crate) shown: SmallStr,
    management: Mutex<Option<Management>>,
}

impl Hub {
    /// Prepares the connections to the hub, without opening one.
    ///
    /// # Errors
    /// `Config` without credentials, or without a namespace.
    pub(crate) fn new(
        config: &Config,
        shown: &str,
        credential: Option<&SharedTokens>,
        runtime: &Runtime,
    ) -> Result<Self> {
        let access = Access::find(config, credential)?;
        let endpoint = config.endpoint.clone().unwrap_or(access.endpoint);
        let connector = Connector::new(
            config,
            endpoint,
            &access.host,
            shown,
            access.tokens,
            runtime,
        )?;
        Ok(Self {
            config: config.clone(),
            connector,
            shown: shown.into(),
            management: Mutex::new(None),
        })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.connector.runtime()
    }

    pub(crate) async fn properties(&self) -> Result<HubProperties> {
        match self.ask(None).await? {
            Answer::Hub(properties) => Ok(properties),
            Answer::Partition(_) => Err(wrong_answer()),
        }
    }

    pub(crate) async fn partition(&self, id: &PartitionId) -> Result<PartitionProperties> {
        match self.ask(Some(id)).await? {
            Answer::Partition(properties) => Ok(properties),
            Answer::Hub(_) => Err(wrong_answer()),
        }
    }

    /// Asks the management node, over one connection for all. A connection that was lost since the last
    /// request is replaced once.
    async fn ask(&self, partition: Option<&PartitionId>) -> Result<Answer> {
        let mut slot = self.management.lock().await;
        let limit = self.connector.timing().request;
        let asked = self.runtime().timeout(limit, &self.shown, async {
            if let Some(management) = &mut *slot {
                match self.read(management, partition).await {
                    Err(error) if error.is(ErrorKind::Unavailable) => *slot = None,
                    answer => return answer,
                }
            }
            let connection = self.connector.connect().await?;
            let management = Management::open(&self.connector, connection).await?;
            let management = slot.insert(management);
            self.read(management, partition).await
        });
        let asked = asked.await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(late) => {
                // The response may still come, on a connection that is silent more likely.
                *slot = None;
                Err(late)
            }
        };
        answer.map_err(|error| error.with_effect(Effect::None))
    }

    async fn read(
        &self,
        management: &mut Management,
        partition: Option<&PartitionId>,
    ) -> Result<Answer> {
        let hub = self.config.hub.as_str();
        Ok(match partition {
            Some(id) => Answer::Partition(management.partition(&self.connector, hub, id).await?),
            None => Answer::Hub(management.hub(&self.connector, hub).await?),
        })
    }
}

enum Answer {
    Hub(HubProperties),
    Partition(PartitionProperties),
}

fn wrong_answer() -> Error {
    Error::new(ErrorKind::Internal, "the wrong properties were read")
}

/// Where the hub is, and what opens it.
struct Access {
    endpoint: Endpoint,
    host: SmallStr,
    tokens: SharedTokens,
}

impl Access {
    /// Takes the connection string of the configuration, else the credential of the backend, else the
    /// connection string of the environment.
    fn find(config: &Config, credential: Option<&SharedTokens>) -> Result<Self> {
        if let Some(found) = &config.connection_string {
            return Ok(Self::of(found));
        }
        if let (Some(tokens), Some(host)) = (credential, &config.namespace) {
            return Ok(Self {
                endpoint: Endpoint::tls(host.clone(), None),
                host: host.clone(),
                tokens: tokens.clone(),
            });
        }
        let Ok(text) = std::env::var(VARIABLE) else {
            return Err(Error::config(format!(
                "{}: no credentials for the event hub {} (set `connection_string`, or the environment \
                 variable {VARIABLE}, or open the backend with a credential and name the namespace in \
                 the URL)",
                config.place, config.hub
            )));
        };
        let found = parse_connection_string(
            &text,
            &format!("environment variable {VARIABLE}, for {}", config.place),
        )?;
        config.check_namespace(Some(&found))?;
        Ok(Self::of(&found))
    }

    fn of(found: &ConnectionString) -> Self {
        let tokens: SharedTokens = match &found.access {
            SharedAccess::Key { name, key } => Arc::new(SharedKey {
                name: name.clone(),
                key: key.clone(),
            }),
            SharedAccess::Signature(signature) => Arc::new(Presigned(signature.clone())),
        };
        Self {
            endpoint: match found.emulator {
                true => Endpoint::plain(found.host.clone(), found.port),
                false => Endpoint::tls(found.host.clone(), found.port),
            },
            host: found.host.clone(),
            tokens,
        }
    }
}

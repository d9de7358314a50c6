use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_core::{Result, Runtime, Task};
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::session::{Session, SessionHandle};
use tokio::sync::Mutex;

use super::dial::Dialer;
use super::requests::Requests;
use super::token::Authorization;
use crate::auth::SharedTokens;
use crate::config::{Config, Endpoint, Timing};
use crate::error;

/// Opens connections to one hub.
pub(crate) struct Connector {
    dialer: Dialer,
    /// The name in errors: scheme, namespace and hub.
    what: String,
    audience: String,
    tokens: SharedTokens,
    timing: Timing,
    runtime: Runtime,
    /// Makes names of connections and links unique.
    names: AtomicU64,
}

/// How many transfers a session takes ahead. A delivery of the largest size has a few hundred.
const WINDOW: u32 = 5_000;

impl Connector {
    pub(crate) fn new(
        config: &Config,
        endpoint: Endpoint,
        host: &str,
        what: &str,
        tokens: SharedTokens,
        runtime: &Runtime,
    ) -> Result<Self> {
        Ok(Self {
            dialer: Dialer::new(config, endpoint, host)?,
            what: what.to_owned(),
            audience: format!("sb://{host}/{}", config.hub),
            tokens,
            timing: config.timing,
            runtime: runtime.clone(),
            names: AtomicU64::new(runtime.random() >> 32),
        })
    }

    /// Opens a connection and authorizes it for the hub.
    pub(crate) async fn connect(&self) -> Result<Arc<Connection>> {
        let limit = self.timing.request;
        let opened = self.runtime.timeout(limit, &self.what, self.open()).await;
        // Nothing was sent yet that could have an effect.
        opened
            .and_then(|opened| opened)
            .map_err(|error| error.with_effect(aqueduct_core::Effect::None))
    }

    async fn open(&self) -> Result<Arc<Connection>> {
        let id = self.name("aqueduct");
        let dialed = self.dialer.dial(id).await;
        let mut handle = dialed.map_err(|error| error.context(&self.what))?;
        let mut session = begin(&mut handle, &self.what).await?;
        let requests = Requests::open(&mut session, "$cbs", &self.what).await?;
        let mut authorization = Authorization::new(
            session,
            requests,
            self.tokens.clone(),
            self.audience.clone(),
            &self.runtime,
        );
        let due = authorization.put().await?;
        let renewal = authorization.keep(due, self.timing.request);
        Ok(Arc::new(Connection {
            handle: Mutex::new(handle),
            what: self.what.clone(),
            _renewal: self.runtime.spawn(renewal),
        }))
    }

    /// Returns a name that no other link of this process has.
    pub(crate) fn name(&self, of: &str) -> String {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        format!("{of}-{:x}-{number:x}", std::process::id())
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Returns the token of a request to the management node.
    pub(crate) async fn token(&self) -> Result<String> {
        let now = self.runtime.wall();
        Ok(self.tokens.token(&self.audience, now).await?.text)
    }
}

/// An open and authorized connection. Dropping it closes it.
pub(crate) struct Connection {
    handle: Mutex<ConnectionHandle<()>>,
    what: String,
    _renewal: Task<()>,
}

impl Connection {
    /// Begins a session.
    pub(super) async fn session(&self) -> Result<SessionHandle<()>> {
        begin(&mut *self.handle.lock().await, &self.what).await
    }

    /// Returns whether it was closed or lost.
    pub(crate) async fn is_closed(&self) -> bool {
        self.handle.lock().await.is_closed()
    }
}

async fn begin(handle: &mut ConnectionHandle<()>, what: &str) -> Result<SessionHandle<()>> {
    Session::builder()
        .incoming_window(WINDOW)
        .outgoing_window(WINDOW)
        .begin(handle)
        .await
        .map_err(|failed| error::begin(what, failed))
}

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use super::dial::Dial;
use super::exchange::exchange;
use super::lanes::{Lanes, STREAMS};
use super::pool::{Pool, Windows};
use super::tls::{Roots, Tls};

/// How long a connection may take if the SDK says nothing: one lost packet and its retransmission.
const CONNECT: Duration = Duration::from_millis(3100);

/// The most silence of a connection before it is given up, by default.
const SILENCE: Duration = Duration::from_secs(5);

/// The longest silence under HTTP/2, where a live peer always responds to a ping.
const LONGEST_PING: Duration = Duration::from_secs(10);

/// Responses to requests are read at once; a full GetRecords is 10 MiB.
const REQUESTS: Windows = Windows {
    stream: 4 << 20,
    connection: 32 << 20,
};

/// A stream takes 2 MB/s, which 1 MiB allows over 500 ms. The connection's window holds those of all its
/// streams, so that a stream that is not read leaves room for the others.
const SUBSCRIPTIONS: Windows = Windows {
    stream: 1 << 20,
    connection: (STREAMS as u32 + 1) << 20,
};

/// Connections to AWS: HTTP/2 where the service offers it, HTTP/1.1 otherwise.
///
/// A connection without a sign of life is given up: HTTP/2 connections are pinged while a request waits, and
/// on HTTP/1.1 a response must begin within the read time-out. Later requests use new connections.
///
/// ```
/// use aqueduct_aws::{Aws, Transport};
///
/// # fn certificate_of_the_proxy() -> Vec<u8> { Vec::new() }
/// let transport = Transport::new().with_root_certificates(certificate_of_the_proxy());
/// let aws = Aws::new().with_transport(transport);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Transport {
    roots: Roots,
    silence: Duration,
}

impl Transport {
    /// Trusts the certificates of the system, and gives up a connection that is silent for 5 s.
    pub fn new() -> Self {
        Self {
            roots: Roots::System,
            silence: SILENCE,
        }
    }

    /// Trusts these certificates, PEM, instead of those of the system.
    pub fn with_root_certificates(self, pem: impl Into<Vec<u8>>) -> Self {
        let roots = Roots::Pem(pem.into());
        Self { roots, ..self }
    }

    /// Trusts the certificates of that file, PEM, instead of those of the system.
    pub(crate) fn with_root_file(self, path: PathBuf) -> Self {
        let roots = Roots::File(path);
        Self { roots, ..self }
    }

    /// Gives up a connection that is silent for so long while a request waits on it, unless the client's
    /// configuration has a read time-out.
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// Returns a client for requests. Clones share connections.
    pub fn requests(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.client(Kind::Requests))
    }

    /// Returns a client for responses that last for minutes, such as those of SubscribeToShard: a few share a
    /// connection, and none can use up the room of another.
    pub fn subscriptions(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.client(Kind::Subscriptions))
    }

    fn client(&self, kind: Kind) -> Connections {
        Connections(Arc::new(Shared {
            kind,
            tls: Tls::new(self.roots.clone()),
            silence: self.silence,
            groups: Mutex::default(),
        }))
    }
}

impl Default for Transport {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Requests,
    Subscriptions,
}

/// The HTTP client for the SDK.
#[derive(Clone)]
struct Connections(Arc<Shared>);

struct Shared {
    kind: Kind,
    tls: Tls,
    silence: Duration,
    /// By connect time-out, which differs between services and providers of credentials.
    groups: Mutex<HashMap<Duration, Arc<Group>>>,
}

enum Group {
    Requests(Arc<Pool>),
    Subscriptions(Lanes),
}

impl Shared {
    fn pool(&self, connect: Duration) -> Pool {
        let windows = match self.kind {
            Kind::Requests => REQUESTS,
            Kind::Subscriptions => SUBSCRIPTIONS,
        };
        let dial = Dial::new(self.tls.clone(), connect);
        Pool::new(dial, self.silence.min(LONGEST_PING), windows)
    }

    fn group(&self, connect: Duration) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let made = groups.entry(connect).or_insert_with(|| {
            Arc::new(match self.kind {
                Kind::Requests => Group::Requests(Arc::new(self.pool(connect))),
                Kind::Subscriptions => Group::Subscriptions(Lanes::default()),
            })
        });
        made.clone()
    }
}

impl HttpClient for Connections {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connect = settings.connect_timeout().unwrap_or(CONNECT);
        SharedHttpConnector::new(Connector {
            group: self.0.group(connect),
            shared: self.0.clone(),
            connect,
            silence: settings.read_timeout().unwrap_or(self.0.silence),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some("1.x".into())))
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("kind", &self.0.kind)
            .finish_non_exhaustive()
    }
}

struct Connector {
    shared: Arc<Shared>,
    group: Arc<Group>,
    connect: Duration,
    silence: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (pool, place) = match &*self.group {
            Group::Requests(pool) => (pool.clone(), None),
            Group::Subscriptions(lanes) => {
                let (pool, place) = lanes.place(|| self.shared.pool(self.connect));
                (pool, Some(place))
            }
        };
        HttpConnectorFuture::new(exchange(pool, request, self.silence, place))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("connect", &self.connect)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

use aqueduct_core::{Error, ErrorKind, Result};
use fe2o3_amqp::Connection;
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::sasl_profile::SaslProfile;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls;
use super::websocket::WebSocket;
use crate::config::{Config, Endpoint, Timing, Transport};
use crate::error;

/// The largest frame, as in Microsoft's clients.
const FRAME: u32 = 64 << 10;

/// The settings with which every connection to a hub is opened.
pub(super) struct Dialer {
    endpoint: Endpoint,
    transport: Transport,
    /// The host of the namespace, as the service knows it.
    host: String,
    tls: Option<TlsConnector>,
    timing: Timing,
}

impl Dialer {
    /// # Errors
    /// `Config` if the certificates to trust cannot be read.
    pub(super) fn new(config: &Config, endpoint: Endpoint, host: &str) -> Result<Self> {
        let tls = match endpoint.tls {
            true => Some(tls::connector(config.ca_file.as_deref())?),
            false => None,
        };
        Ok(Self {
            endpoint,
            transport: config.transport,
            host: host.to_owned(),
            tls,
            timing: config.timing,
        })
    }

    /// Opens an AMQP connection under the name `id`.
    pub(super) async fn dial(&self, id: String) -> Result<ConnectionHandle<()>> {
        let (host, port) = (&*self.endpoint.host, self.endpoint.port(self.transport));
        let what = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let refused = |source: std::io::Error| {
            error::unavailable(&what, "the connection cannot be opened").with_source(source)
        };
        let stream = TcpStream::connect((host, port)).await.map_err(refused)?;
        // Batches are flushed whole; waiting for more only delays their last frame.
        stream.set_nodelay(true).map_err(refused)?;
        match &self.tls {
            Some(tls) => {
                self.over(secure(tls, host, &what, stream).await?, id, &what)
                    .await
            }
            None => self.over(stream, id, &what).await,
        }
    }

    async fn over<Io>(&self, stream: Io, id: String, what: &str) -> Result<ConnectionHandle<()>>
    where
        Io: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin + 'static,
    {
        match self.transport {
            Transport::Amqp => self.open(stream, id, what).await,
            Transport::WebSocket => {
                let stream = WebSocket::open(stream, what, self.tls.is_some()).await?;
                self.open(stream, id, what).await
            }
        }
    }

    async fn open<Io>(&self, stream: Io, id: String, what: &str) -> Result<ConnectionHandle<()>>
    where
        Io: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin + 'static,
    {
        let idle = u32::try_from(self.timing.idle.as_millis()).unwrap_or(u32::MAX);
        Connection::builder()
            .container_id(id)
            .hostname(self.host.as_str())
            .max_frame_size(FRAME)
            .idle_time_out(idle)
            .sasl_profile(SaslProfile::Anonymous)
            .open_with_stream(stream)
            .await
            .map_err(|failed| error::open(what, failed))
    }
}

async fn secure(
    tls: &TlsConnector,
    host: &str,
    what: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(|source| {
        Error::config(format!("{what}: the host is not a valid TLS name")).with_source(source)
    })?;
    tls.connect(name, stream).await.map_err(|source| {
        let is_certificate = source
            .get_ref()
            .and_then(|it| it.downcast_ref::<rustls::Error>())
            .is_some_and(|it| matches!(it, rustls::Error::InvalidCertificate(_)));
        let kind = match is_certificate {
            true => ErrorKind::Denied,
            false => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("{what}: TLS failed")).with_source(source)
    })
}

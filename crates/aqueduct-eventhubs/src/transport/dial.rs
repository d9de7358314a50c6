use aqueduct_core::{Error, ErrorKind, Result};
use fe2o3_amqp::Connection;
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::sasl_profile::SaslProfile;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{Endpoint, Timing};
use crate::error;

/// The largest frame, as in Microsoft's clients.
const FRAME: u32 = 64 << 10;

/// Opens an AMQP connection to `endpoint` for the namespace `host`.
pub(super) async fn dial(
    endpoint: &Endpoint,
    host: &str,
    tls: Option<&TlsConnector>,
    timing: Timing,
    id: String,
) -> Result<ConnectionHandle<()>> {
    let what = format!("{}:{}", endpoint.host, endpoint.port);
    let refused = |source: std::io::Error| {
        error::unavailable(&what, "the connection cannot be opened").with_source(source)
    };
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(refused)?;
    // Batches are flushed whole; waiting for more only delays their last frame.
    stream.set_nodelay(true).map_err(refused)?;
    let Some(tls) = tls else {
        return open(stream, host, timing, id, &what).await;
    };
    let name = ServerName::try_from(endpoint.host.to_string()).map_err(|source| {
        Error::config(format!("{what}: the host is not a valid TLS name")).with_source(source)
    })?;
    let stream = tls.connect(name, stream).await.map_err(|source| {
        let is_certificate = source
            .get_ref()
            .and_then(|it| it.downcast_ref::<rustls::Error>())
            .is_some_and(|it| matches!(it, rustls::Error::InvalidCertificate(_)));
        let kind = match is_certificate {
            true => ErrorKind::Denied,
            false => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("{what}: TLS failed")).with_source(source)
    })?;
    open(stream, host, timing, id, &what).await
}

async fn open<Io>(
    stream: Io,
    host: &str,
    timing: Timing,
    id: String,
    what: &str,
) -> Result<ConnectionHandle<()>>
where
    Io: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin + 'static,
{
    let idle = u32::try_from(timing.idle.as_millis()).unwrap_or(u32::MAX);
    Connection::builder()
        .container_id(id)
        .hostname(host)
        .max_frame_size(FRAME)
        .idle_time_out(idle)
        .sasl_profile(SaslProfile::Anonymous)
        .open_with_stream(stream)
        .await
        .map_err(|failed| error::open(what, failed))
}

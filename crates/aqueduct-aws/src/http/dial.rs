use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tower_service::Service;

use super::failure::DialError;
use super::tls::Tls;
use super::wire::Wire;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections, with TLS to `https` hosts.
#[derive(Clone)]
pub(super) struct Dial {
    tcp: HttpConnector,
    tls: Tls,
    limit: Duration,
}

impl Dial {
    pub(super) fn new(tls: Tls, limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // Small requests must not wait for the acknowledgement of earlier ones.
        tcp.set_nodelay(true);
        Self { tcp, tls, limit }
    }

    async fn open(mut self, uri: Uri) -> Result<Wire, BoxError> {
        let is_plain = uri.scheme_str() != Some("https");
        let host = uri.host().unwrap_or_default().to_owned();
        let stream = self.tcp.call(uri).await?.into_inner();
        if is_plain {
            return Ok(Wire::plain(stream));
        }
        // An IPv6 address has brackets in a URI and none in a certificate.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| DialError::Host(host.to_owned()))?;
        let tls = self.tls.connector()?.connect(name, stream).await;
        Ok(Wire::tls(tls.map_err(DialError::handshake)?))
    }
}

impl Service<Uri> for Dial {
    type Response = Wire;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let ready = self.clone();
        let dial = std::mem::replace(self, ready);
        Box::pin(async move {
            let limit = dial.limit;
            match tokio::time::timeout(limit, dial.open(uri)).await {
                Ok(opened) => opened,
                Err(_) => Err(DialError::TimedOut(limit).into()),
            }
        })
    }
}

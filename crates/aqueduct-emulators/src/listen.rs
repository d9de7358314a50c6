use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::skew::Clock;

/// How the server of an emulator listens: by default on a free port, over plain HTTP.
///
/// ```
/// use aqueduct_emulators::{ListenOptions, TlsIdentity};
///
/// let identity = TlsIdentity::generate(&["localhost"])?;
/// let options = ListenOptions::new().with_tls(&identity);
/// // The client trusts `identity.certificate()`.
/// # let _ = options;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ListenOptions {
    port: u16,
    tls: Option<TlsIdentity>,
    http1: bool,
    clock: Option<Clock>,
}

impl ListenOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on that port of the loopback interface. Default: 0, a free one.
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Speaks TLS, and HTTP/2 to clients that can.
    pub fn with_tls(self, identity: &TlsIdentity) -> Self {
        Self {
            tls: Some(identity.clone()),
            ..self
        }
    }

    /// Offers HTTP/1.1 alone over TLS, as DynamoDB and SQS do.
    pub fn with_http1_only(self) -> Self {
        Self {
            http1: true,
            ..self
        }
    }

    /// Sets the clock of the server apart by so many seconds; requests whose signature is more than 5 minutes
    /// from it are refused, as by the service.
    pub fn with_clock_off_by(self, seconds: i64) -> Self {
        Self {
            clock: Some(Clock::off_by(seconds)),
            ..self
        }
    }
}

/// A self-signed certificate and its key.
#[derive(Clone)]
pub struct TlsIdentity {
    certificate: Arc<str>,
    key: Arc<str>,
}

impl TlsIdentity {
    /// Generates a certificate for those host names and IP addresses.
    ///
    /// # Errors
    /// If a name is not valid.
    pub fn generate(names: &[&str]) -> io::Result<Self> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        Ok(Self {
            certificate: made.cert.pem().into(),
            key: made.signing_key.serialize_pem().into(),
        })
    }

    /// Returns the certificate as PEM, for clients to trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    fn acceptor(&self, http1: bool) -> io::Result<TlsAcceptor> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let chain = chain.map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(io::Error::other)?;
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = match http1 {
            true => vec![b"http/1.1".to_vec()],
            false => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

/// A server that stops, with its connections, when it is dropped.
pub(crate) struct Listening {
    endpoint: String,
    _stop: oneshot::Sender<()>,
}

impl Listening {
    /// Opens the port, and serves the application that `make` makes for the endpoint.
    pub(crate) async fn start(
        options: &ListenOptions,
        make: impl FnOnce(&str) -> Router,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let port = listener.local_addr()?.port();
        let (tls, endpoint) = match &options.tls {
            Some(identity) => (
                Some(identity.acceptor(options.http1)?),
                // A certificate of that name needs no address in it.
                format!("https://localhost:{port}"),
            ),
            None => (None, format!("http://127.0.0.1:{port}")),
        };
        let mut app = make(&endpoint);
        if let Some(clock) = options.clock {
            app = clock.over(app);
        }
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                () = accept(listener, app, tls) => {}
                // A dropped sender ends the server as well as a message does.
                _ = stopped => {}
            }
        });
        Ok(Self {
            endpoint,
            _stop: stop,
        })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// Accepts connections until the future is dropped; they end with it.
async fn accept(listener: TcpListener, app: Router, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Such as too many open files: it may take a while until one is closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        let (app, tls) = (app.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, app).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, app).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, app: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = tower::service_fn(move |request: Request<_>| {
        let mut app = app.clone();
        async move {
            let response = tower::Service::call(&mut app, request.map(Body::new)).await;
            response.map_err(|never: Infallible| match never {})
        }
    });
    let builder = Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(service);
    // An error ends the connection only, as its client knows.
    drop(
        builder
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::failure::DialError;

/// The certificates that a server's certificate is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// The system's.
    System,
    /// Those of a PEM file.
    File(PathBuf),
    /// These, as PEM.
    Pem(Vec<u8>),
}

/// TLS that is configured by the first connection that needs it: reading the system's certificates takes
/// time, and plain HTTP needs none.
#[derive(Clone, Debug)]
pub(super) struct Tls(Arc<Lazy>);

#[derive(Debug)]
struct Lazy {
    roots: Roots,
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    pub(super) fn new(roots: Roots) -> Self {
        Self(Arc::new(Lazy {
            roots,
            config: OnceLock::new(),
        }))
    }

    /// Returns the connector.
    pub(super) fn connector(&self) -> Result<TlsConnector, DialError> {
        let config = self.0.config.get_or_init(|| configure(&self.0.roots));
        match config {
            Ok(config) => Ok(TlsConnector::from(config.clone())),
            Err(why) => Err(DialError::Roots(why.clone())),
        }
    }
}

fn configure(roots: &Roots) -> Result<Arc<ClientConfig>, String> {
    let roots = match roots {
        Roots::System => {
            // A system may hold certificates that cannot be parsed; the others are enough.
            let mut store = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = store.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(
                    "the system has no root certificates (install them, or set `ca_file`)".into(),
                );
            }
            store
        }
        Roots::File(path) => {
            let shown = path.display();
            let pem = std::fs::read(path).map_err(|error| format!("ca_file {shown}: {error}"))?;
            parse(&pem).map_err(|why| format!("ca_file {shown}: {why}"))?
        }
        Roots::Pem(pem) => parse(pem)?,
    };
    // The provider is named: which one is the default depends on the features of other crates.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn parse(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| format!("it cannot be read as PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("invalid certificate: {error}"))?;
    }
    match roots.is_empty() {
        true => Err("it holds no certificate (expected PEM)".into()),
        false => Ok(roots),
    }
}

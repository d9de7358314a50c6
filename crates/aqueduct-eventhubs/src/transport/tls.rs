use std::path::Path;
use std::sync::Arc;

use aqueduct_core::{Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Creates a connector that trusts the certificates of `ca_file`, else those of the system.
///
/// The provider is named: which one is the default depends on the features of other crates.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => add_file(&mut roots, path)?,
        None => {
            // A system may hold certificates that cannot be parsed; the others are enough.
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(Error::config(
                    "the system has no root certificates (install them, set SSL_CERT_FILE, or set \
                     `ca_file`)",
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config("TLS cannot be configured").with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let shown = path.display();
    let unreadable = |error: rustls::pki_types::pem::Error| {
        Error::config(format!("ca_file {shown}: it cannot be read as PEM")).with_source(error)
    };
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|error| {
            Error::config(format!("ca_file {shown}: invalid certificate")).with_source(error)
        })?;
        count += 1;
    }
    match count {
        0 => Err(Error::config(format!(
            "ca_file {shown}: it holds no certificate (expected PEM)"
        ))),
        _ => Ok(()),
    }
}

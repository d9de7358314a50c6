//! Certificates that do not fit, and pages of proxies.

use std::io::Write as _;

use aqueduct_aws::{Aws, Transport};
use aqueduct_core::{Effect, Error, ErrorKind};
use aqueduct_emulators::{KinesisServer, ListenOptions, TlsIdentity, test_credentials};

use crate::alone::alone;
use crate::scripted::ask;

async fn server(identity: &TlsIdentity) -> KinesisServer {
    let listen = ListenOptions::new().with_tls(identity);
    let server = KinesisServer::start_on(KinesisServer::quick(), &listen);
    server.await.unwrap()
}

/// Asks the server as clients of `aws` do.
async fn ask_at(endpoint: &str, aws: Aws, more: &[(&'static str, &str)]) -> Result<(), Error> {
    let mut given = vec![("region", "us-east-1"), ("endpoint", endpoint)];
    given.extend(more);
    ask(&aws.with_credentials(test_credentials()), &given).await
}

fn assert_refused(error: &Error, endpoint: &str, why: &str) {
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(error.effect(), Effect::None, "{error}");
    for part in ["certificate", endpoint, why] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer_is_refused_with_what_to_do() {
    let identity = TlsIdentity::generate(&["localhost"]).unwrap();
    let other = TlsIdentity::generate(&["localhost"]).unwrap();
    let server = server(&identity).await;
    let transport = Transport::new().with_root_certificates(other.certificate());
    let aws = Aws::new().with_transport(transport);
    let error = ask_at(server.endpoint(), aws, &[]).await.unwrap_err();
    assert_refused(&error, server.endpoint(), "`ca_file`");
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused_and_points_at_the_endpoint() {
    let identity = TlsIdentity::generate(&["kinesis.eu-west-1.amazonaws.com"]).unwrap();
    let server = server(&identity).await;
    let transport = Transport::new().with_root_certificates(identity.certificate());
    let aws = Aws::new().with_transport(transport);
    let error = ask_at(server.endpoint(), aws, &[]).await.unwrap_err();
    assert_refused(&error, server.endpoint(), "another host");
}

#[test]
fn a_file_or_the_environment_says_which_certificates_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let identity = TlsIdentity::generate(&["localhost"]).unwrap();
    let shown = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The child generates its own identity: only the folder is shared.
    let trusted = shown("trusted.pem", identity.certificate());
    alone(
        "tls::a_file_or_the_environment_says_which_certificates_are_trusted",
        &[("AWS_CA_BUNDLE", &trusted)],
        || async {
            let identity = TlsIdentity::generate(&["localhost"]).unwrap();
            let server = server(&identity).await;
            let home = std::path::PathBuf::from(std::env::var("HOME").unwrap());
            let ours = home.join("ours.pem");
            std::fs::write(&ours, identity.certificate()).unwrap();
            let empty = home.join("empty.pem");
            std::fs::write(&empty, "nothing").unwrap();
            let (ours, empty) = (ours.to_str().unwrap(), empty.to_str().unwrap());

            // The bundle of the environment is another's.
            let error = ask_at(server.endpoint(), Aws::new(), &[])
                .await
                .unwrap_err();
            assert_refused(&error, server.endpoint(), "AWS_CA_BUNDLE");
            let option = [("ca_file", ours)];
            ask_at(server.endpoint(), Aws::new(), &option)
                .await
                .unwrap();
            let missing = home.join("missing.pem");
            for file in [empty, missing.to_str().unwrap()] {
                let option = [("ca_file", file)];
                let refused = ask_at(server.endpoint(), Aws::new(), &option).await;
                let error = refused.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                assert!(error.message().contains(file), "{error}");
            }
        },
    );
}

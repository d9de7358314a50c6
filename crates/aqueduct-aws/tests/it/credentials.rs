use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aqueduct_core::{Effect, ErrorKind};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

use crate::alone::{alone, write_profile};
use crate::scripted::{Scripted, ask};

const REGION: [(&str, &str); 1] = [("region", "eu-west-1")];

fn write_keys(key: &str) {
    let text = format!(
        "[default]\naws_access_key_id = {key}\naws_secret_access_key = s\naws_session_token = t\n"
    );
    write_profile("credentials", &text);
}

#[test]
fn without_credentials_it_is_denied_and_says_what_to_do() {
    alone(
        "credentials::without_credentials_it_is_denied_and_says_what_to_do",
        &[],
        || async {
            let http = Scripted::ok();
            let error = ask(&http.aws(), &REGION).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert_eq!(error.effect(), Effect::None);
            for way in ["AWS_PROFILE", "AWS_ACCESS_KEY_ID"] {
                assert!(error.message().contains(way), "{error}");
            }
            assert!(http.requests().is_empty());
        },
    );
}

#[test]
fn a_profile_that_is_not_there_is_named() {
    alone(
        "credentials::a_profile_that_is_not_there_is_named",
        &[],
        || async {
            write_keys("AKIDA");
            let given = [("region", "eu-west-1"), ("profile", "shop")];
            let error = ask(&Scripted::ok().aws(), &given).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Denied | ErrorKind::Config),
                "{error}"
            );
            assert!(error.message().contains("shop"), "{error}");
        },
    );
}

/// Whoever logs in again writes the file, and the process goes on without a restart.
#[test]
fn refused_credentials_are_read_again() {
    alone(
        "credentials::refused_credentials_are_read_again",
        &[],
        || async {
            refused_with("ExpiredTokenException", 400).await;
            refused_with("UnrecognizedClientException", 400).await;
            refused_with("InvalidClientTokenId", 403).await;
        },
    );
}

async fn refused_with(code: &'static str, status: u16) {
    write_keys("AKIDOLD");
    let http = Scripted::new(move |request| match request.is_signed_by("AKIDNEW") {
        true => Some((200, r#"{"StreamNames":[],"HasMoreStreams":false}"#.into())),
        false => Some((
            status,
            format!(r#"{{"__type":"{code}","message":"too old"}}"#),
        )),
    });
    let aws = http.aws();
    let error = ask(&aws, &REGION).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.effect(), Effect::None);
    assert!(error.message().contains(code), "{error}");
    assert_eq!(error.is_retryable(), code.starts_with("Expired"), "{error}");
    write_keys("AKIDNEW");
    ask(&aws, &REGION).await.unwrap();
    ask(&aws, &REGION).await.unwrap();
    assert_eq!(http.requests().len(), 3);
}

/// Hands out numbered credentials that live as long as it is told.
#[derive(Clone, Debug)]
struct Numbered {
    given: Arc<AtomicU64>,
    life: Option<Duration>,
}

impl ProvideCredentials for Numbered {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let expiry = self.life.map(|life| SystemTime::now() + life);
        let key = format!("AKID{number}");
        future::ProvideCredentials::ready(Ok(Credentials::new(key, "s", None, expiry, "test")))
    }
}

#[test]
fn credentials_are_kept_while_they_live_and_renewed_before_they_expire() {
    alone(
        "credentials::credentials_are_kept_while_they_live_and_renewed_before_they_expire",
        &[],
        || async {
            for (life, expected) in [
                (None, 1),
                (Some(Duration::from_secs(3600)), 1),
                // That is less than a request may take.
                (Some(Duration::from_secs(5)), 3),
            ] {
                let numbered = Numbered {
                    given: Arc::default(),
                    life,
                };
                let provider = SharedCredentialsProvider::new(numbered.clone());
                let aws = Scripted::ok().aws().with_credentials(provider);
                for _ in 0..3 {
                    ask(&aws, &REGION).await.unwrap();
                }
                assert_eq!(numbered.given.load(Ordering::Relaxed), expected, "{life:?}");
            }
        },
    );
}

/// `aws login` names a session in the profile and keeps its credentials in a file.
#[test]
fn a_profile_of_aws_login_is_found() {
    alone(
        "credentials::a_profile_of_aws_login_is_found",
        &[],
        || async {
            use sha2::Digest as _;

            let session = "arn:aws:iam::123456789012:user/ada";
            write_profile("config", &format!("[default]\nlogin_session = {session}\n"));
            let cache = format!("login/cache/{:x}.json", sha2::Sha256::digest(session));
            let folder =
                std::path::Path::new(&std::env::var("HOME").unwrap()).join(".aws/login/cache");
            std::fs::create_dir_all(folder).unwrap();
            write_profile(
                &cache,
                r#"{"accessToken": {"accessKeyId": "ASIALOGIN", "secretAccessKey": "s", "sessionToken": "t",
                "accountId": "123456789012", "expiresAt": "2199-01-01T00:00:00Z"},
                "tokenType": "urn:aws:params:oauth:token-type:access_token_sigv4",
                "refreshToken": "r", "idToken": "i", "clientId": "arn:aws:signin:::devtools/same-device",
                "dpopKey": "k"}"#,
            );
            let http = Scripted::ok();
            ask(&http.aws(), &REGION).await.unwrap();
            assert!(http.last().is_signed_by("ASIALOGIN"), "{:?}", http.last());
        },
    );
}

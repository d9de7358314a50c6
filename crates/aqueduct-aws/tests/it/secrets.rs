use std::error::Error as _;

use crate::alone::alone;
use crate::scripted::{Scripted, ask, options};

const SECRETS: [&str; 2] = ["THESECRETKEY", "THESESSIONTOKEN"];
const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDENV"),
    ("AWS_SECRET_ACCESS_KEY", SECRETS[0]),
    ("AWS_SESSION_TOKEN", SECRETS[1]),
];
const REGION: [(&str, &str); 1] = [("region", "eu-west-1")];

fn assert_hidden(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    alone("secrets::nothing_secret_is_printed", &KEYS, || async {
        // The service repeats the request that it does not believe, its headers included.
        for code in ["SignatureDoesNotMatch", "InvalidSignatureException"] {
            let http = Scripted::new(move |request| {
                let body = format!(
                    r#"{{"__type":"{code}","message":"no match. The Canonical String should have been x-amz-security-token:{}"}}"#,
                    request.token
                );
                Some((403, body))
            });
            let aws = http.aws();
            let error = ask(&aws, &REGION).await.unwrap_err();
            assert_eq!(http.last().token, SECRETS[1], "the request is signed");
            assert!(error.message().contains("clock"), "{error}");
            assert_hidden(&format!("{error} {error:?}"));
            let mut cause = error.source();
            while let Some(next) = cause {
                assert_hidden(&format!("{next} {next:?}"));
                cause = next.source();
            }
            let config = aws.config(&options(&REGION)).await.unwrap();
            assert_hidden(&format!("{aws:?} {:?} {config:?}", options(&REGION)));
        }
    });
}

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use aqueduct_aws::Aws;
use aqueduct_core::{Effect, Error, ErrorKind};

use crate::alone::alone;
use crate::scripted::{Scripted, ask};

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDENV"),
    ("AWS_SECRET_ACCESS_KEY", "secret-of-env"),
    ("AWS_REGION", "eu-west-1"),
];

/// Returns the error of a response of the service.
async fn error_of(status: u16, body: &'static str) -> Error {
    let http = Scripted::new(move |_| Some((status, body.into())));
    ask(&http.aws(), &[]).await.unwrap_err()
}

/// Returns the error of a request to that endpoint, over real connections.
async fn at(endpoint: &str) -> Error {
    let given = [("endpoint", endpoint), ("request_timeout", "2s")];
    ask(&Aws::new(), &given).await.unwrap_err()
}

/// Starts a server that reads a request, responds with `response`, and hangs up.
fn server(response: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 16 * 1024];
            let _ = connection.read(&mut request);
            let _ = connection.write_all(response.as_bytes());
        }
    });
    endpoint
}

#[test]
fn a_page_instead_of_an_answer_points_at_the_endpoint() {
    alone(
        "errors::a_page_instead_of_an_answer_points_at_the_endpoint",
        &KEYS,
        || async {
            let page = "<!DOCTYPE html><html><body>Sign in</body></html>";
            for status in [200, 302, 404, 502] {
                let error = error_of(status, page).await;
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{status}: {error}");
                assert!(error.message().contains("`endpoint`"), "{status}: {error}");
                assert!(!error.message().contains("html"), "{status}: {error}");
            }
            // A page may come after a proxy has let the request pass.
            assert_eq!(error_of(200, page).await.effect(), Effect::Unknown);
            assert_eq!(error_of(502, page).await.effect(), Effect::Unknown);
        },
    );
}

/// A proxy or a portal says what it sends, whatever the status is.
#[test]
fn a_page_of_a_proxy_is_called_one() {
    alone("errors::a_page_of_a_proxy_is_called_one", &KEYS, || async {
        for (head, effect) in [
            ("200 OK", Effect::Unknown),
            ("302 Found\r\nlocation: http://portal/", Effect::None),
            ("403 Forbidden", Effect::None),
            ("407 Proxy Authentication Required", Effect::None),
            ("502 Bad Gateway", Effect::Unknown),
        ] {
            let page = "<html>Sign in, token=secret</html>";
            let length = page.len();
            let answer = format!(
                "HTTP/1.1 {head}\r\ncontent-type: Text/HTML; charset=utf-8\r\n\
                     content-length: {length}\r\n\r\n{page}"
            );
            let endpoint = server(answer.leak());
            let error = at(&endpoint).await;
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{head}: {error}");
            assert_eq!(error.effect(), effect, "{head}: {error}");
            let status = &head[..3];
            for part in ["web page", "proxy", "`endpoint`", &endpoint, status] {
                assert!(error.message().contains(part), "{part}: {error}");
            }
            assert!(!error.message().contains("secret"), "{error}");
        }
    });
}

#[test]
fn where_nobody_listens_nothing_was_sent() {
    alone(
        "errors::where_nobody_listens_nothing_was_sent",
        &KEYS,
        || async {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("http://{}", free.local_addr().unwrap());
            drop(free);
            let error = at(&endpoint).await;
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.effect(), Effect::None);
            assert!(error.is_retryable());
            assert!(error.message().contains(&endpoint), "{error}");
        },
    );
}

/// A label of a name has at most 63 letters, so no server is asked for this one.
#[test]
fn a_host_that_does_not_exist_is_named() {
    alone(
        "errors::a_host_that_does_not_exist_is_named",
        &KEYS,
        || async {
            let endpoint = format!("http://kinesis.{}.invalid", "x".repeat(64));
            let error = at(&endpoint).await;
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert_eq!(error.effect(), Effect::None, "{error}");
            for part in [endpoint.as_str(), "region"] {
                assert!(error.message().contains(part), "{error}");
            }
        },
    );
}

#[test]
fn a_connection_that_is_cut_may_have_had_an_effect() {
    alone(
        "errors::a_connection_that_is_cut_may_have_had_an_effect",
        &KEYS,
        || async {
            for response in [
                "",
                "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
                "SSH-2.0-x\r\n\r\n",
            ] {
                let error = at(&server(response)).await;
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{response}: {error}");
                assert_eq!(error.effect(), Effect::Unknown, "{response}: {error}");
            }
        },
    );
}

#[test]
fn an_answer_that_does_not_come_times_out() {
    alone(
        "errors::an_answer_that_does_not_come_times_out",
        &KEYS,
        || async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let given = [
                ("endpoint", endpoint.as_str()),
                ("request_timeout", "200ms"),
            ];
            let aws = Aws::new();
            let asked = ask(&aws, &given);
            let error = tokio::time::timeout(Duration::from_secs(20), asked)
                .await
                .unwrap()
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            assert_eq!(error.effect(), Effect::Unknown, "{error}");
            drop(listener);
        },
    );
}

/// The endpoint of the environment is plain text, and the client is one for both.
#[test]
fn a_plain_endpoint_may_come_from_the_environment() {
    let response = "HTTP/1.1 200 OK\r\ncontent-length: 41\r\n\r\n{\"StreamNames\":[],\"HasMoreStreams\":false}";
    let endpoint = server(response);
    let mut variables = KEYS.to_vec();
    variables.push(("AWS_ENDPOINT_URL_KINESIS", &endpoint));
    alone(
        "errors::a_plain_endpoint_may_come_from_the_environment",
        &variables,
        || async { ask(&Aws::new(), &[]).await.unwrap() },
    );
}

#[test]
fn a_clock_that_is_off_is_said_so() {
    alone("errors::a_clock_that_is_off_is_said_so", &KEYS, || async {
        for body in [
            r#"{"__type":"InvalidSignatureException","message":"Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z"}"#,
            r#"{"__type":"RequestTimeTooSkewed","message":"too far apart"}"#,
            r#"{"__type":"RequestExpired","message":"expired"}"#,
        ] {
            let error = error_of(400, body).await;
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            assert_eq!(error.effect(), Effect::None);
            assert!(error.message().contains("clock"), "{error}");
        }
    });
}

#[test]
fn codes_become_kinds() {
    alone("errors::codes_become_kinds", &KEYS, || async {
        for (status, body, kind, effect) in [
            (
                400,
                r#"{"__type":"LimitExceededException","message":"m"}"#,
                ErrorKind::Throttled,
                Effect::None,
            ),
            (
                400,
                r#"{"__type":"com.amazonaws.kinesis#ResourceNotFoundException","message":"m"}"#,
                ErrorKind::NotFound,
                Effect::None,
            ),
            (
                400,
                r#"{"__type":"AccessDeniedException","message":"m"}"#,
                ErrorKind::Denied,
                Effect::None,
            ),
            (
                400,
                r#"{"__type":"ValidationException","message":"m"}"#,
                ErrorKind::Invalid,
                Effect::None,
            ),
            (
                500,
                r#"{"__type":"InternalFailure","message":"m"}"#,
                ErrorKind::Unavailable,
                Effect::Unknown,
            ),
            (
                503,
                r#"{"__type":"SomethingNew","message":"m"}"#,
                ErrorKind::Unavailable,
                Effect::Unknown,
            ),
            (
                503,
                r#"{"__type":"ThrottlingException","message":"m"}"#,
                ErrorKind::Throttled,
                Effect::None,
            ),
            (
                429,
                r#"{"__type":"SomethingNew","message":"m"}"#,
                ErrorKind::Throttled,
                Effect::None,
            ),
        ] {
            let error = error_of(status, body).await;
            assert_eq!(error.kind(), kind, "{body}: {error}");
            assert_eq!(error.effect(), effect, "{body}: {error}");
            assert!(error.message().starts_with("ListStreams: "), "{error}");
        }
    });
}

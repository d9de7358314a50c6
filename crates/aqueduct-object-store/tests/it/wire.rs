//! Responses on the wire: what a caller learns of each.

use std::time::Duration;

use aqueduct_core::{Backend as _, Effect, Error, ErrorKind, Options, Retry, Url};
use aqueduct_object_store::ObjectStoreBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::runtime;

/// Opens leases on a server that gives every request the same response; `None` for silence.
async fn opened(response: Option<&'static str>, url: &str) -> Error {
    let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = server.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut connection, _) = server.accept().await.unwrap();
            let mut request = vec![0; 1 << 16];
            let _ = connection.read(&mut request).await;
            if let Some(response) = response {
                let _ = connection.write_all(response.as_bytes()).await;
            }
            held.push(connection);
        }
    });
    let options = Options::new("groups.g.leases")
        .with(
            "endpoint",
            format!("http://127.0.0.1:{port}/devstoreaccount1"),
        )
        .with("access_key", "aHVudGVyMg==")
        .with("timeout", if response.is_some() { "60s" } else { "300ms" });
    let url = Url::parse(url).unwrap();
    let resource = ObjectStoreBackend::new().parse("l", &url, options).unwrap();
    let error = resource.leases(&runtime()).await.err().unwrap();
    serving.abort();
    error
}

const URL: &str = "az://devstoreaccount1/leases";

macro_rules! response {
    ($status:literal, $headers:literal, $body:literal) => {
        Some(concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nConnection: close\r\n",
            $headers,
            "\r\n",
            $body
        ))
    };
}

#[tokio::test]
async fn an_overloaded_service_says_how_long_to_wait() {
    let busy = response!(
        "503 Service Unavailable",
        "Retry-After: 7\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\n",
        ""
    );
    let error = opened(busy, URL).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
    assert_eq!(error.effect(), Effect::Unknown);
    assert!(error.to_string().contains("503: ServerBusy"), "{error}");
    let throttled = response!("429 Too Many Requests", "Content-Length: 0\r\n", "");
    let error = opened(throttled, URL).await;
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.effect(), Effect::None);
}

#[tokio::test]
async fn a_service_that_is_silent_times_out_with_an_unknown_effect() {
    let error = opened(None, URL).await;
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    assert_eq!(error.effect(), Effect::Unknown);
    assert!(error.is_retryable());
}

#[tokio::test]
async fn refusals_are_told_apart_and_never_print_the_key() {
    for (response, kind, says) in [
        (
            response!(
                "404 The specified container does not exist.",
                "Content-Length: 63\r\n",
                "<?xml version=\"1.0\"?><Error><Code>ContainerNotFound</Code></Err"
            ),
            ErrorKind::NotFound,
            "container or bucket does not exist",
        ),
        (
            response!(
                "403 Server failed to authenticate the request.",
                "Content-Length: 0\r\n",
                ""
            ),
            ErrorKind::Denied,
            "lack a permission",
        ),
        (
            response!("401 Unauthorized", "Content-Length: 0\r\n", ""),
            ErrorKind::Denied,
            "missing, wrong or expired",
        ),
        (
            response!("400 Bad Request", "Content-Length: 0\r\n", ""),
            ErrorKind::Invalid,
            "refused the request",
        ),
    ] {
        let error = opened(response, URL).await;
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.effect(), Effect::None, "{error:?}");
        let said = format!("{error:?}");
        assert!(
            !said.contains("hunter2") && !said.contains("aHVudGVyMg"),
            "{said}"
        );
    }
}

//! AMQP in a WebSocket, where a firewall lets nothing else out.

use aqueduct_core::{ErrorKind, Event, ReadFrom};
use aqueduct_emulators::EventHubsOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::common::{Certificate, Hub, options, read, request, resource, texts};

const WEBSOCKET: (&str, &str) = ("transport", "websocket");

/// Sends events of every length that a WebSocket's frame writes in its own way, and reads them back, the
/// last ones over a new connection.
async fn exchange(on: EventHubsOptions, more: &[(&'static str, &str)]) {
    let hub = Hub::with(on, more).await;
    let producer = hub.producer().await;
    let log = hub.log().await;
    let mut reader = log.open(&request("0", ReadFrom::Earliest)).await.unwrap();
    for size in [5, 1_000, 200_000] {
        let data = "x".repeat(size);
        let event = Event::bytes("test", "text/plain", data.clone()).with_source("/test");
        let sent = producer.send_batch(std::slice::from_ref(&event)).await;
        sent.into_result().unwrap();
        assert_eq!(texts(&read(&mut *reader, 1).await), [data]);
        hub.server.cut_connections();
    }
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn events_travel_in_a_websocket() {
    exchange(options("orders", 1), &[WEBSOCKET]).await;
}

#[tokio::test]
async fn events_travel_in_a_websocket_over_tls() {
    let certificate = Certificate::new();
    let more = [WEBSOCKET, ("ca_file", &*certificate.ca_file())];
    exchange(certificate.on(options("orders", 1)), &more).await;
}

#[tokio::test]
async fn a_websocket_that_is_refused_says_by_what() {
    for (response, kind, expected) in [
        ("HTTP/1.1 401 Unauthorized", ErrorKind::Denied, "status 401"),
        (
            "HTTP/1.1 404 Not Found",
            ErrorKind::Unavailable,
            "status 404",
        ),
        (
            "SSH-2.0-OpenSSH_9.6",
            ErrorKind::Unavailable,
            "the WebSocket cannot be opened",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = format!("{response}\r\nContent-Length: 0\r\n\r\n");
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let count = stream.read(&mut head).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8_lossy(&head[..count]).into_owned()
        });
        let hub = Hub::start(1, &[]).await;
        let endpoint = format!("amqp://127.0.0.1:{port}");
        let more = [WEBSOCKET, ("endpoint", endpoint.as_str())];
        let elsewhere = resource(&hub.server, "orders", &more).unwrap();
        let error = elsewhere.producer(&hub.runtime).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        let asked = serving.await.unwrap();
        assert!(
            asked.starts_with("GET /$servicebus/websocket HTTP/1.1\r\n"),
            "{asked}"
        );
        let asked = asked.to_ascii_lowercase();
        assert!(
            asked.contains("sec-websocket-protocol: amqpwsb10\r\n"),
            "{asked}"
        );
    }
}

use std::time::Duration;

use aqueduct_emulators::{EventHubs, EventHubsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{soon, start, start_with, until};

/// A protocol header, and an `open` that asks for a frame every 200 ms.
const OPEN: &[u8] = b"AMQP\x00\x01\x00\x00\
    \x00\x00\x00\x19\x02\x00\x00\x00\x00\x53\x10\xc0\x0c\x05\xa1\x01x\x40\x40\x40\x70\x00\x00\x00\xc8";

const EMPTY_FRAME: &[u8] = b"\x00\x00\x00\x08\x02\x00\x00\x00";

async fn open(hubs: &EventHubs) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", hubs.port()))
        .await
        .unwrap();
    stream.write_all(OPEN).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_asks_for_it_hears_of_the_service() {
    let hubs = start().await;
    let mut stream = open(&hubs).await;
    let mut seen = Vec::new();
    soon("empty frames", async {
        while seen.windows(8).filter(|it| *it == EMPTY_FRAME).count() < 3 {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "still open");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_given_up() {
    let options = EventHubsOptions::new().with_idle_timeout(Duration::from_millis(300));
    let hubs = start_with(options).await;
    let mut stream = open(&hubs).await;
    let mut seen = Vec::new();
    soon("end", stream.read_to_end(&mut seen)).await.unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("amqp:connection:forced"), "{seen}");
    until("the connection is forgotten", || hubs.connections() == 0).await;
}

#[tokio::test]
async fn what_is_not_amqp_is_refused_and_reported() {
    let hubs = start().await;
    let mut stream = TcpStream::connect(("127.0.0.1", hubs.port()))
        .await
        .unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    soon("end", stream.read_to_end(&mut seen)).await.unwrap();
    until("the report", || !hubs.violations().is_empty()).await;
    assert_eq!(hubs.violations()[0].rule, "protocol");
}

#[tokio::test]
async fn dropping_the_namespace_closes_everything() {
    let hubs = start().await;
    let mut stream = open(&hubs).await;
    until("the connection", || hubs.connections() == 1).await;
    let port = hubs.port();
    drop(hubs);
    let mut seen = Vec::new();
    soon("end", stream.read_to_end(&mut seen)).await.ok();
    soon("the port is closed", async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

use std::sync::Arc;

use aqueduct_emulators::{EventHubs, EventHubsOptions};
use fe2o3_amqp_ws::WebSocketStream;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::client::{Client, event, is_accepted, receive, soon, start_with, token};

async fn send(client: &mut Client) -> Result<(), String> {
    let mut sender = client
        .try_sender("orders")
        .await
        .map_err(|error| format!("{error:?}"))?;
    let sent = soon("send", sender.send(event("x", None))).await;
    if is_accepted(&sent) {
        Ok(())
    } else {
        Err(format!("{sent:?}"))
    }
}

#[tokio::test]
async fn a_valid_token_opens_its_hub_and_nothing_else_does() {
    let hubs = start_with(EventHubsOptions::new().with_key("root", "secret")).await;
    let mut client = Client::open(&hubs).await;
    let refused = send(&mut client).await.unwrap_err();
    assert!(refused.contains("UnauthorizedAccess"), "{refused}");
    let audience = "amqp://localhost/orders";
    let bad = [
        (token("root", audience, "wrong", 60), "InvalidSignature"),
        (token("root", audience, "secret", -1), "ExpiredToken"),
        (
            token("root", "amqp://localhost/other", "secret", 60),
            "InvalidAudience",
        ),
        ("SharedAccessSignature sr=x".to_owned(), "MalformedToken"),
        ("eyJ".to_owned(), "InvalidToken"),
    ];
    for (token, reason) in bad {
        let (status, reply) = client.put(audience, token).await;
        assert_eq!(status, 401, "{reason}");
        assert!(reply.contains(reason), "{reply}");
    }
    let (status, _) = client
        .put(audience, token("root", audience, "secret", 60))
        .await;
    assert_eq!(status, 202);
    send(&mut client).await.unwrap();
}

#[tokio::test]
async fn a_link_is_closed_when_its_token_expires() {
    let hubs = start_with(EventHubsOptions::new().with_key("root", "secret")).await;
    let mut client = Client::open(&hubs).await;
    let audience = "amqp://localhost/orders";
    let (status, _) = client
        .put(audience, token("root", audience, "secret", 3))
        .await;
    assert_eq!(status, 202);
    let Ok(mut sender) = client.try_sender("orders").await else {
        // The machine was too slow for the token.
        return;
    };
    let lost = soon("expiry", sender.on_detach()).await;
    assert!(
        format!("{lost:?}").contains("UnauthorizedAccess"),
        "{lost:?}"
    );
}

#[tokio::test]
async fn tls_with_a_certificate_of_the_test() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let options =
        EventHubsOptions::new().with_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    let hubs = start_with(options).await;
    assert!(hubs.endpoint().starts_with("amqps://localhost:"));
    assert!(!hubs.connection_string().contains("UseDevelopmentEmulator"));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", hubs.port()))
        .await
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = soon("handshake", connector.connect(name, stream))
        .await
        .unwrap();
    let builder = fe2o3_amqp::Connection::builder().container_id("tls");
    let opened = soon("open", builder.open_with_stream(stream)).await;
    let mut client = Client::over(opened.unwrap()).await;
    // More than one TLS record each way.
    let body = vec![7; 100_000];
    let mut sender = client.sender("orders/Partitions/0").await;
    assert!(is_accepted(
        &soon("send", sender.send(event(body.clone(), None))).await
    ));
    let mut receiver = client.receiver(0, "x-opt-offset > '-1'").await;
    assert_eq!(receive(&mut receiver).await.body, body);
}

#[tokio::test]
async fn a_certificate_that_is_none_is_named() {
    let options = EventHubsOptions::new().with_tls("no certificate", "no key");
    let error = EventHubs::start(options).await.unwrap_err().to_string();
    assert!(error.contains("TLS"), "{error}");
}

#[tokio::test]
async fn bearer_tokens_are_compared() {
    let hubs = start_with(EventHubsOptions::new().with_token("eyJ.good")).await;
    let mut client = Client::open(&hubs).await;
    let audience = "amqp://localhost/orders";
    for (token, expected) in [("eyJ.bad", 401), ("eyJ.good", 202)] {
        let (status, _) = client.put(audience, token.to_owned()).await;
        assert_eq!(status, expected, "{token}");
    }
    send(&mut client).await.unwrap();
}

#[tokio::test]
async fn a_websocket_carries_the_same() {
    let hubs = start_with(EventHubsOptions::new()).await;
    let url = format!("ws://127.0.0.1:{}/$servicebus/websocket", hubs.port());
    let stream = soon("handshake", WebSocketStream::connect(url))
        .await
        .unwrap();
    let builder = fe2o3_amqp::Connection::builder().container_id("ws");
    let opened = soon("open", builder.open_with_stream(stream)).await;
    let mut client = Client::over(opened.unwrap()).await;
    let mut sender = client.sender("orders/Partitions/0").await;
    let mut receiver = client.receiver(0, "x-opt-offset > '-1'").await;
    // Frames with each of the three widths of a WebSocket's length.
    for size in [10, 1000, 100_000] {
        let body = vec![7; size];
        assert!(is_accepted(
            &soon("send", sender.send(event(body.clone(), None))).await
        ));
        assert_eq!(receive(&mut receiver).await.body, body);
    }
    assert_eq!(hubs.violations(), []);
}

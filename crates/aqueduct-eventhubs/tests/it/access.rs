//! Tests of what opens a hub: keys, tokens, names, encryption.

use aqueduct_core::{ErrorKind, Event, ReadFrom, Resource, Runtime};
use aqueduct_emulators::EventHubsFault;

use crate::common::{
    Certificate, Hub, log, options, read, refusal as reading_refused, request, resource, texts,
};

async fn refusal(resource: &dyn Resource, runtime: &Runtime) -> aqueduct_core::Error {
    let producer = resource.producer(runtime).await.err().unwrap();
    let log = log(resource, runtime).await.err().unwrap();
    assert_eq!(producer.kind(), log.kind(), "{producer} / {log}");
    log
}

#[tokio::test]
async fn a_wrong_key_and_an_expired_token_are_denied() {
    let hub = Hub::with(
        options("orders", 1).with_key("sender", "the-right-key"),
        &[],
    )
    .await;
    assert!(
        hub.producer()
            .await
            .capabilities()
            .limits
            .event_bytes
            .is_some()
    );
    let good = hub.server.connection_string();
    let expired = good.replace(
        "SharedAccessKeyName=sender;SharedAccessKey=the-right-key",
        "SharedAccessSignature=SharedAccessSignature sr=sb%3A%2F%2F127.0.0.1%2Forders&sig=c2lnbmF0dXJl&se=1700000000&skn=sender",
    );
    for (text, expected) in [
        (good.replace("the-right-key", "wrong-key"), "401"),
        (good.replace("=sender", "=nobody"), "401"),
        (expired, "expired at 2023-11-14T22:13:20Z"),
    ] {
        let resource = resource(&hub.server, "orders", &[("connection_string", &text)]).unwrap();
        let error = refusal(&*resource, &hub.runtime).await;
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let shown = format!("{error:?}");
        assert!(shown.contains(expected), "{shown}");
        assert!(
            !shown.contains("wrong-key") && !shown.contains("c2lnb"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_missing_hub_group_or_partition_is_not_found() {
    let hub = Hub::start(1, &[]).await;
    let missing = resource(&hub.server, "missing", &[]).unwrap();
    let error = refusal(&*missing, &hub.runtime).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("missing"), "{error}");

    let log = hub.log().await;
    let error = log
        .open(&request("7", ReadFrom::Earliest))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains('7'), "{error}");

    let mut group = request("0", ReadFrom::Earliest);
    group.group = "unknown".into();
    group.generation = 1;
    let error = reading_refused(&*log, &group).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(
        error.to_string().contains("ConsumerGroups/unknown"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refused_request_is_told_and_the_next_one_succeeds() {
    let hub = Hub::start(1, &[]).await;
    let log = hub.log().await;
    hub.server
        .inject("$management", EventHubsFault::Unauthorized);
    let error = log.partitions().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(log.partitions().await.unwrap().len(), 1);

    hub.server.inject("$cbs", EventHubsFault::Unauthorized);
    let again = hub.again(&[]);
    let error = again.producer(&hub.runtime).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(again.producer(&hub.runtime).await.is_ok());

    let busy = EventHubsFault::RefuseAttach("com.microsoft:server-busy".into(), "later".into());
    hub.server.inject("orders", busy);
    let refused = again.producer(&hub.runtime).await;
    if let Err(error) = refused {
        assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    }
}

#[tokio::test]
async fn credentials_are_asked_for_by_name() {
    let url = "eventhubs://shop/orders".parse().unwrap();
    let options = aqueduct_core::Options::new("streams.orders");
    let backend = aqueduct_eventhubs::EventHubsBackend::new();
    let resource = aqueduct_core::Backend::parse(&backend, "orders", &url, options).unwrap();
    assert_eq!(
        resource.describe(),
        "eventhubs://shop.servicebus.windows.net/orders"
    );
    let error = resource
        .producer(&aqueduct_runtime::tokio())
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    let shown = error.to_string();
    assert!(
        shown.contains("connection_string") && shown.contains("EVENTHUBS_CONNECTION_STRING"),
        "{shown}"
    );
}

#[tokio::test]
async fn events_travel_over_tls() {
    let certificate = Certificate::new();
    let secure = certificate.on(options("orders", 2));
    let hub = Hub::with(secure, &[("ca_file", &certificate.ca_file())]).await;
    assert!(hub.server.endpoint().starts_with("amqps://"));
    let producer = hub.producer().await;
    let event = Event::bytes("test", "text/plain", "hello")
        .with_source("/test")
        .with_key("k");
    producer.send_batch(&[event]).await.into_result().unwrap();
    let partition = hub.server.partition_of("orders", "k").unwrap().to_string();
    let log = hub.log().await;
    let mut reader = log
        .open(&request(&partition, ReadFrom::Earliest))
        .await
        .unwrap();
    assert_eq!(texts(&read(&mut *reader, 1).await), ["hello"]);

    // The system does not know the authority of the test.
    let unknown = hub.again(&[]);
    let error = unknown.producer(&hub.runtime).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(format!("{error:?}").contains("ertificate"), "{error:?}");
    let missing = hub.again(&[("ca_file", "/no/such/file.pem")]);
    let error = missing.producer(&hub.runtime).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("/no/such/file.pem"), "{error}");
}

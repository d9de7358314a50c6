//! Outcomes of sending: limits, time limits, order after a failure.

use std::time::Duration;

use aqueduct_core::{Effect, ErrorKind, Event};

use crate::common::{Place, with_emulator};
use crate::proxy::Proxy;

fn event(id: &str, key: Option<&str>) -> Event {
    let event = Event::bytes("t", "text/plain", "x")
        .with_source("/test")
        .with_id(id);
    match key {
        Some(key) => event.with_key(key),
        None => event,
    }
}

#[test]
fn an_event_over_the_limit_fails_alone_and_blocks_its_key() {
    with_emulator(|place: Place| async move {
        let resource = place.resource(&place.unique(), "");
        let producer = resource.producer(&place.runtime).await.unwrap();
        let large = event("1", Some("a")).with_data(vec![0; 10_000_001]);
        let events = [
            event("0", Some("a")),
            large,
            event("2", Some("a")),
            event("3", Some("b")),
        ];
        let outcomes = producer.send_batch(&events).await.into_outcomes();
        let kinds: Vec<_> = outcomes
            .iter()
            .map(|it| it.as_ref().err().map(|it| it.kind()))
            .collect();
        assert_eq!(
            kinds,
            [
                None,
                Some(ErrorKind::TooLarge),
                Some(ErrorKind::Blocked),
                None
            ]
        );
        let said = outcomes[1].as_ref().unwrap_err().to_string();
        assert!(said.contains("event 1"), "{said}");
    });
}

#[test]
fn many_keys_are_sent_in_one_call() {
    with_emulator(|place: Place| async move {
        let resource = place.resource(&place.unique(), "");
        let producer = resource.producer(&place.runtime).await.unwrap();
        let events: Vec<Event> = (0..600)
            .map(|n| event(&n.to_string(), Some(&format!("k{}", n % 300))))
            .collect();
        producer.send_batch(&events).await.into_result().unwrap();
    });
}

#[test]
fn a_silent_server_leaves_the_outcome_unknown_and_the_key_goes_on() {
    with_emulator(|place: Place| async move {
        let proxy = Proxy::to(&place.endpoint).await;
        let topic = place.unique();
        let resource = place.resource_at(&proxy.endpoint, &topic, "&publish_timeout=2s&channels=1");
        let producer = resource.producer(&place.runtime).await.unwrap();
        let [first, second] = [event("0", Some("a")), event("1", Some("a"))];
        producer
            .send_batch(std::slice::from_ref(&first))
            .await
            .into_result()
            .unwrap();
        proxy.silence();
        let report = producer.send_batch(std::slice::from_ref(&second)).await;
        let error = report.into_result().unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::TimedOut, Effect::Unknown),
            "{error}"
        );
        // The connection is lost at last: the key is not paused, and the next call opens another.
        proxy.cut();
        for _ in 0..60 {
            let report = producer.send_batch(std::slice::from_ref(&second)).await;
            match report.into_result() {
                Ok(_) => return,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            place.runtime.sleep(Duration::from_millis(500)).await;
        }
        panic!("the key is still paused");
    });
}

#[test]
fn a_server_that_refuses_connections_has_stored_nothing() {
    with_emulator(|place: Place| async move {
        let proxy = Proxy::to(&place.endpoint).await;
        let resource = place.resource_at(&proxy.endpoint, &place.unique(), "&publish_timeout=5s");
        let producer = resource.producer(&place.runtime).await.unwrap();
        proxy.refuse(true);
        let events = [event("0", None)];
        let error = producer
            .send_batch(&events)
            .await
            .into_result()
            .unwrap_err();
        assert!(error.is_retryable(), "{error}");
        proxy.refuse(false);
        for _ in 0..60 {
            if producer.send_batch(&events).await.into_result().is_ok() {
                return;
            }
            place.runtime.sleep(Duration::from_millis(500)).await;
        }
        panic!("the producer does not recover");
    });
}

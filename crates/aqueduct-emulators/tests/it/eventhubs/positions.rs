use std::time::{Duration, UNIX_EPOCH};

use aqueduct_emulators::EventHubsOptions;
use fe2o3_amqp::Receiver;

use super::client::{Client, encoded, event, receive, start, start_with, try_receive};

async fn first(client: &mut Client, selector: &str) -> i64 {
    let mut receiver = client.receiver(0, selector).await;
    let first = receive(&mut receiver).await.sequence_number;
    receiver.close().await.unwrap();
    first
}

#[tokio::test]
async fn every_selector_starts_where_it_says() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    for number in 0..5 {
        assert!(hubs.publish("orders", 0, encoded(event(vec![number], None))));
        // Times must differ for the selector by time.
        let now = hubs.events("orders", 0).pop().unwrap().enqueued_time;
        while now.elapsed().unwrap_or_default() < Duration::from_millis(2) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let third = hubs.events("orders", 0).swap_remove(2);
    let offset = third.offset;
    let time = third.enqueued_time.duration_since(UNIX_EPOCH).unwrap();
    let time = time.as_millis();
    let cases = [
        ("x-opt-offset > '-1'".to_owned(), 0),
        (format!("x-opt-offset > '{offset}'"), 3),
        (format!("x-opt-offset >= '{offset}'"), 2),
        ("x-opt-sequence-number > '2'".to_owned(), 3),
        ("x-opt-sequence-number >= '2'".to_owned(), 2),
        ("x-opt-sequence-number > '-1'".to_owned(), 0),
        (format!("x-opt-enqueued-time > '{time}'"), 3),
        (format!("x-opt-enqueued-time >= '{time}'"), 2),
    ];
    for (selector, expected) in cases {
        assert_eq!(first(&mut client, &selector).await, expected, "{selector}");
    }
    assert_eq!(hubs.violations(), []);
}

#[tokio::test]
async fn latest_is_the_end_at_the_attach() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    hubs.publish("orders", 0, encoded(event("before", None)));
    let mut receiver = client.receiver(0, "x-opt-offset > '@latest'").await;
    hubs.publish("orders", 0, encoded(event("after", None)));
    assert_eq!(receive(&mut receiver).await.body, b"after");
}

#[tokio::test]
async fn opaque_offsets_are_text_and_lead_back() {
    let hubs = start_with(EventHubsOptions::new().with_opaque_offsets()).await;
    let mut client = Client::open(&hubs).await;
    for number in 0..5 {
        hubs.publish("orders", 0, encoded(event(vec![number], None)));
    }
    let mut receiver = client.receiver(0, "x-opt-offset > '-1'").await;
    let offset = receive(&mut receiver).await.offset;
    assert!(offset.parse::<i64>().is_err(), "{offset}");
    assert_eq!(
        first(&mut client, &format!("x-opt-offset > '{offset}'")).await,
        1
    );
}

#[tokio::test]
async fn a_position_that_does_not_exist_is_refused() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    hubs.publish("orders", 0, encoded(event("x", None)));
    for selector in [
        "x-opt-sequence-number > '7'",
        "x-opt-offset > 'abc'",
        "color > 'red'",
    ] {
        let attached = client.try_receiver("$Default", 0, selector, None).await;
        let error = match attached {
            Err(error) => format!("{error:?}"),
            Ok(mut receiver) => refusal(&mut receiver).await,
        };
        assert!(error.contains("argument-error"), "{selector}: {error}");
    }
    let missing = client
        .try_receiver("nobody", 0, "x-opt-offset > '-1'", None)
        .await;
    let error = match missing {
        Err(error) => format!("{error:?}"),
        Ok(mut receiver) => refusal(&mut receiver).await,
    };
    assert!(error.contains("consumergroup:nobody"), "{error}");
}

async fn refusal(receiver: &mut Receiver) -> String {
    let received = super::client::soon("refusal", try_receive(receiver)).await;
    format!("{:?}", received.unwrap_err())
}

#[tokio::test]
async fn expired_events_are_skipped() {
    let hubs = start_with(EventHubsOptions::new().with_retained_events(3)).await;
    let mut client = Client::open(&hubs).await;
    for number in 0..10 {
        hubs.publish("orders", 0, encoded(event(vec![number], None)));
    }
    assert_eq!(first(&mut client, "x-opt-sequence-number >= '2'").await, 7);
    hubs.expire("orders", 0, 9);
    assert_eq!(first(&mut client, "x-opt-offset > '-1'").await, 9);
}

#[tokio::test]
async fn groups_read_independently_and_credit_is_kept() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    for number in 0..1000_u32 {
        hubs.publish("orders", 0, encoded(event(number.to_be_bytes(), None)));
    }
    for group in ["$Default", "billing"] {
        let attached = client
            .try_receiver(group, 0, "x-opt-offset > '-1'", None)
            .await;
        let mut receiver = attached.unwrap();
        for number in 0..1000_u32 {
            assert_eq!(receive(&mut receiver).await.body, number.to_be_bytes());
        }
    }
    assert_eq!(hubs.violations(), []);
}

//! Tests of sending beyond the suite: batches, outcomes, time limits, lost links.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aqueduct_core::{Effect, ErrorKind, Event, PartitionId, Retry, SendReport};
use aqueduct_emulators::EventHubsFault;

use crate::common::{Hub, options, until};

fn event(key: &str, number: usize) -> Event {
    Event::bytes("test", "text/plain", number.to_string())
        .with_source("/test")
        .with_key(key)
}

fn stored(report: SendReport) -> usize {
    let outcomes = report.into_outcomes();
    let count = outcomes.len();
    for outcome in outcomes {
        outcome.unwrap();
    }
    count
}

#[tokio::test]
async fn many_keys_share_a_batch_and_each_goes_where_microsofts_clients_send_it() {
    let hub = Hub::start(4, &[]).await;
    let producer = hub.producer().await;
    let events: Vec<Event> = (0..1_000)
        .map(|n| event(&format!("k{}", n % 200), n))
        .collect();
    // Opens the links, whose tokens are deliveries too.
    assert_eq!(stored(producer.send_batch(&events).await), 1_000);
    let before = hub.server.deliveries();
    let report = producer.send_batch(&events).await;
    for (event, outcome) in events.iter().zip(report.outcomes()) {
        let expected = hub
            .server
            .partition_of("orders", event.key().unwrap())
            .unwrap();
        let partition = outcome.as_ref().unwrap().partition.clone();
        assert_eq!(partition, Some(PartitionId::new(expected.to_string())));
        assert_eq!(producer.lane(event).0, expected as u64);
    }
    assert_eq!(stored(report), 1_000);
    assert_eq!(hub.server.deliveries() - before, 4);
    let mut keys: BTreeMap<String, usize> = BTreeMap::new();
    for partition in 0..4 {
        for event in hub.server.events("orders", partition) {
            let key = event.partition_key.unwrap();
            assert_eq!(hub.server.partition_of("orders", &key), Some(partition));
            *keys.entry(key).or_default() += 1;
        }
    }
    assert_eq!(keys.len(), 200);
    assert!(keys.values().all(|count| *count == 10));
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn the_service_may_choose_the_partition_of_a_key() {
    let hub = Hub::start(4, &[("partitioner", "service")]).await;
    let producer = hub.producer().await;
    let mut events: Vec<Event> = (0..60).map(|n| event(&format!("k{}", n % 6), n)).collect();
    // A key that the service would refuse is placed by its hash all the same.
    events.push(event(&"x".repeat(200), 60));
    assert_eq!(stored(producer.send_batch(&events).await), 61);
    let before = hub.server.deliveries();
    assert_eq!(stored(producer.send_batch(&events).await), 61);
    assert_eq!(hub.server.deliveries() - before, 7);
    for partition in 0..4 {
        for event in hub.server.events("orders", partition) {
            let key = event.partition_key.unwrap_or_else(|| "x".repeat(200));
            assert_eq!(hub.server.partition_of("orders", &key), Some(partition));
        }
    }
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn batches_of_many_frames_keep_ids_and_windows() {
    let hub = Hub::start(1, &[]).await;
    let producer = hub.producer().await;
    let data = "x".repeat(100_000);
    let events: Vec<Event> = (0..300)
        .map(|n| event("k", n).with_data(data.clone()))
        .collect();
    assert_eq!(stored(producer.send_batch(&[event("k", 0)]).await), 1);
    let before = hub.server.deliveries();
    assert_eq!(stored(producer.send_batch(&events).await), 300);
    // Ten events fit a batch of 1 MiB.
    assert_eq!(hub.server.deliveries() - before, 30);
    assert_eq!(hub.server.events("orders", 0).len(), 301);
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn batches_of_calls_side_by_side_share_a_link() {
    let latency = Duration::from_millis(50);
    let hub = Hub::with(options("orders", 1).with_latency(latency), &[]).await;
    let producer = hub.producer().await;
    assert_eq!(stored(producer.send_batch(&[event("first", 0)]).await), 1);
    let began = Instant::now();
    let calls = (0..20).map(|n| {
        let producer = &producer;
        async move { stored(producer.send_batch(&[event(&format!("k{n}"), n)]).await) }
    });
    let counts = futures::future::join_all(calls).await;
    assert_eq!(counts.iter().sum::<usize>(), 20);
    // One by one they would take twenty round trips.
    assert!(began.elapsed() < latency * 15, "{:?}", began.elapsed());
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn an_oversized_event_fails_alone() {
    let hub = Hub::with(options("orders", 1).with_max_message_size(64 << 10), &[]).await;
    let producer = hub.producer().await;
    let limit = producer.capabilities().limits.event_bytes.unwrap();
    assert!((60 << 10..64 << 10).contains(&limit), "{limit}");
    let large = event("a", 1).with_data(vec![0; 64 << 10]);
    let report = producer
        .send_batch(&[event("a", 0), large, event("a", 2), event("b", 3)])
        .await;
    let kinds: Vec<_> = report
        .outcomes()
        .iter()
        .map(|outcome| outcome.as_ref().err().map(|error| error.kind()))
        .collect();
    let expected = [
        None,
        Some(ErrorKind::TooLarge),
        Some(ErrorKind::Blocked),
        None,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(producer.send_batch(&[]).await.outcomes().len(), 0);
}

#[tokio::test]
async fn only_an_accepted_batch_is_stored() {
    let hub = Hub::start(1, &[]).await;
    let producer = hub.producer().await;
    let reject = |condition: &str| EventHubsFault::Reject(condition.into(), "reason".into());
    for (fault, kind, effect) in [
        (
            EventHubsFault::Release,
            ErrorKind::Unavailable,
            Effect::None,
        ),
        (EventHubsFault::Modify, ErrorKind::Unavailable, Effect::None),
        (EventHubsFault::Busy, ErrorKind::Throttled, Effect::None),
        (
            reject("amqp:unauthorized-access"),
            ErrorKind::Denied,
            Effect::None,
        ),
        (
            reject("com.microsoft:argument-error"),
            ErrorKind::Invalid,
            Effect::None,
        ),
        (
            reject("amqp:link:message-size-exceeded"),
            ErrorKind::TooLarge,
            Effect::None,
        ),
        (EventHubsFault::Cut, ErrorKind::Unavailable, Effect::Unknown),
        (
            EventHubsFault::Unauthorized,
            ErrorKind::Denied,
            Effect::Unknown,
        ),
        (
            EventHubsFault::Detach("amqp:link:detach-forced".into(), "idle".into()),
            ErrorKind::Unavailable,
            Effect::Unknown,
        ),
    ] {
        hub.server.inject("orders/Partitions/0", fault.clone());
        let report = producer.send_batch(&[event("k", 1), event("k", 2)]).await;
        for outcome in report.into_outcomes() {
            let error = outcome.unwrap_err();
            assert_eq!(
                (error.kind(), error.effect()),
                (kind, effect),
                "{fault:?}: {error}"
            );
            if kind == ErrorKind::Throttled {
                assert!(matches!(error.retry(), Retry::After(_)));
            }
        }
        assert_eq!(hub.server.pending_faults(), 0, "{fault:?}");
        // The link is made anew where it was lost.
        assert_eq!(
            stored(producer.send_batch(&[event("k", 3)]).await),
            1,
            "{fault:?}"
        );
    }
    assert_eq!(hub.server.events("orders", 0).len(), 9);
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn a_lost_settlement_is_unknown_after_the_time_limit() {
    let hub = Hub::start(1, &[("timeout", "1s")]).await;
    let producer = hub.producer().await;
    hub.server
        .inject("orders/Partitions/0", EventHubsFault::LoseSettlement);
    let report = producer.send_batch(&[event("k", 1)]).await;
    let error = report.into_result().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::TimedOut, Effect::Unknown)
    );
    assert!(error.to_string().contains("orders/Partitions/0"), "{error}");
    assert_eq!(stored(producer.send_batch(&[event("k", 2)]).await), 1);
    assert_eq!(hub.server.events("orders", 0).len(), 2);

    let slow = EventHubsFault::SlowSettlement(Duration::from_millis(300));
    hub.server.inject("orders/Partitions/0", slow);
    assert_eq!(stored(producer.send_batch(&[event("k", 3)]).await), 1);
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_batch_stores_none_of_it() {
    let hub = Hub::start(1, &[]).await;
    let producer = hub.producer().await;
    hub.server
        .inject("orders/Partitions/0", EventHubsFault::CutMidDelivery);
    let data = "x".repeat(100_000);
    let events: Vec<Event> = (0..5)
        .map(|n| event("k", n).with_data(data.clone()))
        .collect();
    for outcome in producer.send_batch(&events).await.into_outcomes() {
        assert_eq!(outcome.unwrap_err().effect(), Effect::Unknown);
    }
    assert_eq!(hub.server.events("orders", 0).len(), 0);
    assert_eq!(stored(producer.send_batch(&events).await), 5);
    assert_eq!(hub.server.events("orders", 0).len(), 5);
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn nothing_is_sent_behind_a_batch_that_failed() {
    let hub = Hub::with(options("orders", 1).with_max_message_size(64 << 10), &[]).await;
    let producer = hub.producer().await;
    hub.server
        .inject("orders/Partitions/0", EventHubsFault::Release);
    let data = "x".repeat(20_000);
    let events: Vec<Event> = (0..9)
        .map(|n| event(["a", "b"][n % 2], n).with_data(data.clone()))
        .collect();
    let outcomes = producer.send_batch(&events).await.into_outcomes();
    let kinds: BTreeSet<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap_err().kind().as_str())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["blocked", "unavailable"]));
    assert!(
        outcomes
            .iter()
            .all(|it| it.as_ref().unwrap_err().effect() == Effect::None)
    );
    assert_eq!(hub.server.events("orders", 0).len(), 0);
}

#[tokio::test]
async fn a_silent_connection_is_given_up() {
    let hub = Hub::start(1, &[("timeout", "5s"), ("idle_timeout", "1s")]).await;
    let producer = hub.producer().await;
    assert_eq!(stored(producer.send_batch(&[event("k", 1)]).await), 1);
    hub.server.silence_connections();
    until("the connection to be made anew", async || {
        let report = producer.send_batch(&[event("k", 2)]).await;
        report.into_result().ok()
    })
    .await;
}

#[tokio::test]
async fn a_closed_producer_says_so() {
    let hub = Hub::start(1, &[]).await;
    let producer = hub.producer().await;
    assert_eq!(stored(producer.send_batch(&[event("k", 1)]).await), 1);
    producer.close().await.unwrap();
    producer.close().await.unwrap();
    let report = producer.send_batch(&[event("k", 2)]).await;
    assert!(report.into_result().unwrap_err().is(ErrorKind::Closed));
    drop(producer);
    until("its connections to be closed", async || {
        (hub.server.connections() == 0).then_some(())
    })
    .await;
}

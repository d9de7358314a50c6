//! A group on a hub: its lag, and partitions that are added while it runs.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchConsumer, BatchProducer, Delivery, Event, GroupName, Options, PartitionId,
    Url,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_memory::MemoryBackend;

use crate::common::{Hub, until};

/// Joins the group `billing`, with leases in memory.
async fn join(hub: &Hub) -> Arc<dyn BatchConsumer> {
    let url = Url::parse("memory:").unwrap();
    let memory = MemoryBackend::new();
    let stores = memory.parse("leases", &url, Options::new("stores.leases"));
    let leases = stores.unwrap().leases(&hub.runtime).await.unwrap();
    let options =
        GroupOptions::new(GroupName::new("billing")).with_lease_ttl(Duration::from_secs(3));
    Group::open(hub.log().await, leases, options, &hub.runtime)
        .await
        .unwrap()
}

async fn send(producer: &dyn BatchProducer, keys: std::ops::Range<usize>) {
    let event = |key| {
        Event::new("test")
            .with_source("/test")
            .with_key(format!("key-{key}"))
    };
    let events: Vec<_> = keys.map(event).collect();
    producer.send_batch(&events).await.into_result().unwrap();
}

/// Receives `count` events, without settling them.
async fn receive(consumer: &dyn BatchConsumer, count: usize) -> Vec<Delivery> {
    let mut received = Vec::new();
    while received.len() < count {
        let some = consumer
            .receive_batch(count - received.len())
            .await
            .unwrap();
        assert!(!some.is_empty(), "the consumer ended");
        received.extend(some);
    }
    received
}

#[tokio::test]
async fn the_lag_comes_from_the_properties_of_the_partition() {
    let hub = Hub::start(1, &[]).await;
    let producer = hub.producer().await;
    let consumer = join(&hub).await;
    send(&*producer, 0..50).await;
    let held = receive(&*consumer, 20).await;
    let lag = |expected| {
        let consumer = consumer.clone();
        async move || {
            let status = consumer.status();
            let told: Option<u64> = status.partitions.iter().map(|it| it.lag_events).sum();
            (told == Some(expected)).then_some(())
        }
    };
    until("a lag of 50 events", lag(50)).await;
    for delivery in held {
        delivery.ack().await.unwrap();
    }
    until("a lag of 30 events", lag(30)).await;
    for delivery in receive(&*consumer, 30).await {
        delivery.ack().await.unwrap();
    }
    until("no lag", lag(0)).await;
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn partitions_that_are_added_are_read_while_the_group_runs() {
    let hub = Hub::start(1, &[]).await;
    let consumer = join(&hub).await;
    send(&*hub.producer().await, 0..5).await;
    for delivery in receive(&*consumer, 5).await {
        delivery.ack().await.unwrap();
    }
    assert!(hub.server.add_partitions("orders", 3));
    // A producer keeps to the partitions that it found when it opened.
    send(
        &*hub.again(&[]).producer(&hub.runtime).await.unwrap(),
        0..60,
    )
    .await;
    let mut seen = std::collections::BTreeSet::new();
    for delivery in receive(&*consumer, 60).await {
        seen.insert(delivery.partition().unwrap().clone());
        delivery.ack().await.unwrap();
    }
    let expected = ["0", "1", "2"].map(PartitionId::new);
    assert_eq!(seen, expected.into());
    consumer.close().await.unwrap();
    assert_eq!(hub.server.violations(), []);
}

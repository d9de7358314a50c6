#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use aqueduct_core::{Event, GroupName, Resource};
use aqueduct_emulators::HttpFault;
use aqueduct_producer::{Producer, ProducerOptions};

use crate::support::{Place, simulate, simulate_with};

fn events(count: usize, keys: usize) -> Vec<Event> {
    let event = |n: usize| {
        let event = Event::bytes("t", "text/plain", "hello").with_id(n.to_string());
        event.with_source("/s").with_key((n % keys).to_string())
    };
    (0..count).map(event).collect()
}

async fn producer(place: &Place, queue: &dyn Resource, options: ProducerOptions) -> Producer {
    let producer = queue.producer(&place.runtime).await.unwrap();
    Producer::new(producer, options, &place.runtime)
}

async fn stored(place: &Place, queue: &dyn Resource) -> u64 {
    let admin = queue.admin(&place.runtime).await.unwrap();
    admin.lag(&GroupName::new("g")).await.unwrap()[0].events
}

#[test]
fn the_time_out_is_that_of_a_request_not_of_a_call() {
    for name in ["sqs://o", "sqs://o.fifo"] {
        let slow = Duration::from_millis(400);
        simulate_with(
            |limits| limits.latency = slow,
            async |place| {
                let queue = place.resource(name);
                let options = ProducerOptions {
                    request_timeout: Duration::from_secs(1),
                    ..ProducerOptions::default()
                };
                let producer = producer(&place, &*queue, options).await;
                // Twenty of each key: a call makes several requests, one after the other.
                producer.send_all(events(600, 30)).await.unwrap();
                producer.send_all(events(40, 1)).await.unwrap();
                producer.close().await.unwrap();
                // The forty have ids that a FIFO queue knows.
                let expected = if name.ends_with("fifo") { 600 } else { 640 };
                assert_eq!(stored(&place, &*queue).await, expected, "{name}");
            },
        );
    }
}

#[test]
fn what_may_be_stored_is_sent_again_where_the_queue_deduplicates() {
    simulate(async |place| {
        let queue = place.resource("sqs://o.fifo");
        for _ in 0..4 {
            place
                .faults
                .inject("SendMessageBatch", HttpFault::LoseAnswer);
        }
        let producer = producer(&place, &*queue, ProducerOptions::default()).await;
        producer.send_all(events(100, 30)).await.unwrap();
        producer.close().await.unwrap();
        assert_eq!(stored(&place, &*queue).await, 100, "each is stored once");
    });
    simulate(async |place| {
        let queue = place.resource("sqs://o");
        place
            .faults
            .inject("SendMessageBatch", HttpFault::LoseAnswer);
        let producer = producer(&place, &*queue, ProducerOptions::default()).await;
        let failed = producer.send_all(events(10, 10)).await;
        assert!(failed.is_err(), "a standard queue would store it twice");
        producer.close().await.unwrap();
    });
}

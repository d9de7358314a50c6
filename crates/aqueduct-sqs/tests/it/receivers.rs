#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use aqueduct_core::Event;

use crate::support::simulate_with;

const EVENTS: usize = 1_000;

/// Reads a backlog over a service that takes 20 ms for each request; returns the most receives under
/// way at once, how many there were, and how long the backlog took.
fn read_backlog(name: &str, random_batches: bool) -> (usize, u64, Duration) {
    let mut seen = None;
    simulate_with(
        |limits| {
            limits.random_batches = random_batches;
            limits.latency = Duration::from_millis(20);
        },
        async |place| {
            let orders = place.resource(name);
            let producer = orders.producer(&place.runtime).await.unwrap();
            let events: Vec<Event> = (0..EVENTS)
                .map(|n| Event::new("t").with_key(n.to_string()).with_source("/s"))
                .collect();
            producer.send_batch(&events).await.into_result().unwrap();
            let consumer = place.consumer(&*orders).await;
            let began = place.runtime.now();
            let mut left = EVENTS;
            while left > 0 {
                let deliveries = consumer.receive_batch(100).await.unwrap();
                left -= deliveries.len();
                for delivery in deliveries {
                    delivery.ack().await.unwrap();
                }
            }
            let took = place.runtime.now().since(began);
            consumer.close().await.unwrap();
            seen = Some((
                place.sqs.most_at_once("ReceiveMessage"),
                place.faults.requests("ReceiveMessage"),
                took,
            ));
        },
    );
    seen.unwrap()
}

#[test]
fn short_responses_are_made_good_by_more_requests_at_once() {
    for name in ["sqs://o", "sqs://o.fifo"] {
        let (full_width, _, full) = read_backlog(name, false);
        let (width, requests, short) = read_backlog(name, true);
        assert_eq!(full_width, 4, "{name}: the default of `receivers`");
        assert!((6..=8).contains(&width), "{name}: {width} at once");
        // 5.5 messages a response: fewer requests than twice those of full batches.
        assert!(requests < 2 * EVENTS as u64 / 5, "{name}: {requests}");
        // Virtual time: the rate is at least nine tenths of that of full batches.
        assert!(short * 9 < full * 10, "{name}: {short:?} beside {full:?}");
    }
}

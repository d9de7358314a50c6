//! What a producer keeps is bounded: whatever the number of keys, and while the server is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_core::Event;
use aqueduct_producer::{Producer, ProducerOptions};
use futures::FutureExt as _;

use crate::common::{Place, with_emulator};
use crate::proxy::Proxy;

const DEADLINE: Duration = Duration::from_secs(120);

/// How many events a producer accepts here before its callers wait.
const BUFFERED: usize = 500;

fn event(number: usize) -> Event {
    Event::bytes("t", "text/plain", "x")
        .with_source("/test")
        .with_id(number.to_string())
        .with_key(format!("key-{number}"))
}

fn options() -> ProducerOptions {
    ProducerOptions {
        max_buffered_events: BUFFERED,
        // The server is down for as long as the test takes.
        attempts: u32::MAX,
        deadline: 10 * DEADLINE,
        resend_unknown: true,
        ..ProducerOptions::default()
    }
}

/// Waits for a condition.
async fn until(place: &Place, what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            place.runtime.sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = place
        .runtime
        .timeout(DEADLINE, "a condition", waiting)
        .await;
    assert!(waited.is_ok(), "{what}");
}

#[test]
fn no_task_stays_behind_for_a_key() {
    const KEYS: usize = 4_000;
    with_emulator(|place: Place| async move {
        let resource = place.resource(&place.unique(), "");
        let producer = resource.producer(&place.runtime).await.unwrap();
        let producer = Producer::new(producer, options(), &place.runtime);
        producer.send(event(KEYS)).await.unwrap();
        let tasks = || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
        };
        let before = tasks();
        producer
            .send_all((0..KEYS).map(event).collect())
            .await
            .unwrap();
        until(&place, "a task for each key is left", || {
            tasks() < before + KEYS / 20
        })
        .await;
        producer.close().await.unwrap();
    });
}

#[test]
fn callers_wait_while_the_server_is_down() {
    with_emulator(|place: Place| async move {
        let proxy = Proxy::to(&place.endpoint).await;
        let resource = place.resource_at(&proxy.endpoint, &place.unique(), "&publish_timeout=5s");
        let producer = resource.producer(&place.runtime).await.unwrap();
        let producer = Producer::new(producer, options(), &place.runtime);
        proxy.refuse(true);
        proxy.cut();
        let accepted = Arc::new(AtomicUsize::new(0));
        let sending = tokio::spawn({
            let (producer, accepted) = (producer.clone(), accepted.clone());
            async move {
                let mut pending = Vec::new();
                for number in 0..2 * BUFFERED {
                    pending.push(producer.enqueue(event(number)).await.unwrap());
                    accepted.fetch_add(1, Ordering::SeqCst);
                }
                for pending in pending {
                    pending.await.unwrap();
                }
            }
        });
        let full = || accepted.load(Ordering::SeqCst) == BUFFERED;
        until(&place, "the buffer is not filled", full).await;
        let one_more = producer.enqueue(event(usize::MAX)).now_or_never();
        assert!(one_more.is_none(), "an event was accepted beyond the limit");
        assert_eq!(accepted.load(Ordering::SeqCst), BUFFERED);
        proxy.refuse(false);
        place
            .runtime
            .timeout(10 * DEADLINE, "sending", sending)
            .await
            .unwrap()
            .unwrap();
        producer.close().await.unwrap();
    });
}

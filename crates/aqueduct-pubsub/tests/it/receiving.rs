//! Streams that break, exactly-once delivery, replay.

use std::time::Duration;

use aqueduct_core::{BatchConsumer, ErrorKind, Event, GroupName, Resource, Runtime, Start};
use aqueduct_pubsub::PubSubReplay;

use crate::common::{Place, consumer, queue, url_options, with_emulator};
use crate::proxy::Proxy;

const DEADLINE: Duration = Duration::from_secs(120);

async fn send(resource: &dyn Resource, runtime: &Runtime, ids: std::ops::Range<u32>) {
    let events: Vec<Event> = ids.map(event).collect();
    let producer = resource.producer(runtime).await.unwrap();
    producer.send_batch(&events).await.into_result().unwrap();
    producer.close().await.unwrap();
}

fn event(id: u32) -> Event {
    Event::bytes("t", "text/plain", "x")
        .with_source("/test")
        .with_id(id.to_string())
        .with_key("k")
}

/// An event that was received and acknowledged.
struct Handled {
    id: String,
    replay: u64,
}

/// Receives and acknowledges that many events, in any number of batches: a later batch of a key comes
/// only once the earlier one is settled.
async fn handle(consumer: &dyn BatchConsumer, runtime: &Runtime, count: usize) -> Vec<Handled> {
    let mut handled = Vec::new();
    while handled.len() < count {
        let receiving = consumer.receive_batch(count - handled.len());
        let received = runtime.timeout(DEADLINE, "an event", receiving).await;
        match received.unwrap() {
            Ok(deliveries) => {
                for delivery in deliveries {
                    handled.push(Handled {
                        id: delivery.event().id().to_string(),
                        replay: delivery.assignment().replay,
                    });
                    delivery.ack().await.unwrap();
                }
            }
            // A failure that lasts is told and mends.
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    handled
}

fn ids(handled: &[Handled]) -> Vec<&str> {
    handled.iter().map(|it| it.id.as_str()).collect()
}

#[test]
fn a_stream_that_is_cut_or_silent_is_opened_anew() {
    with_emulator(|place: Place| async move {
        let runtime = &place.runtime;
        let proxy = Proxy::to(&place.endpoint).await;
        let topic = place.unique();
        let direct = place.resource(&topic, "");
        let through = place.resource_at(&proxy.endpoint, &topic, "&silence=3s&streams=1");
        let consumer = consumer(&*through, runtime).await;
        send(&*direct, runtime, 0..2).await;
        let handled = handle(&*consumer, runtime, 2).await;
        assert_eq!(ids(&handled), ["0", "1"]);
        consumer.flush().await.unwrap();
        // The client sends acks within 0.1 s.
        runtime.sleep(Duration::from_secs(1)).await;
        proxy.cut();
        send(&*direct, runtime, 2..4).await;
        let handled = handle(&*consumer, runtime, 2).await;
        assert_eq!(ids(&handled), ["2", "3"]);
        consumer.flush().await.unwrap();
        runtime.sleep(Duration::from_secs(1)).await;
        let opened = proxy.opened();
        proxy.silence();
        send(&*direct, runtime, 4..5).await;
        let handled = handle(&*consumer, runtime, 1).await;
        assert_eq!(ids(&handled), ["4"]);
        assert!(proxy.opened() > opened, "on a new connection");
        consumer.close().await.unwrap();
    });
}

#[test]
fn exactly_once_delivery_confirms_acks() {
    with_emulator(|place: Place| async move {
        let runtime = &place.runtime;
        let resource = place.resource(&place.unique(), "&exactly_once=true");
        let first = consumer(&*resource, runtime).await;
        send(&*resource, runtime, 0..3).await;
        let handled = handle(&*first, runtime, 3).await;
        assert_eq!(ids(&handled), ["0", "1", "2"]);
        first.flush().await.unwrap();
        drop(first);
        send(&*resource, runtime, 3..4).await;
        let second = consumer(&*resource, runtime).await;
        let handled = handle(&*second, runtime, 1).await;
        assert_eq!(ids(&handled), ["3"], "what was flushed does not come again");
        second.close().await.unwrap();
    });
}

#[test]
fn a_group_is_replayed_to_a_time_or_a_snapshot_while_no_member_lives() {
    with_emulator(|place: Place| async move {
        let runtime = &place.runtime;
        let topic = place.unique();
        let resource = place.resource(&topic, "&retain_acked=true");
        let group = GroupName::new("group");
        let first = consumer(&*resource, runtime).await;
        let url = place.url(&place.endpoint, &topic, "&retain_acked=true");
        let replay = PubSubReplay::open("orders", &url, url_options(), runtime)
            .await
            .unwrap();
        replay
            .take_snapshot(&group, &format!("{topic}-before"))
            .await
            .unwrap();
        send(&*resource, runtime, 0..2).await;
        let handled = handle(&*first, runtime, 2).await;
        assert_eq!(handled[0].replay, 0);
        first.flush().await.unwrap();
        let queue = queue(&*resource, runtime).await;
        let refused = queue.replay(&group, &Start::Earliest).await.unwrap_err();
        if refused.is(ErrorKind::Unsupported) {
            println!("skipped: {refused}");
            return first.close().await.unwrap();
        }
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        first.close().await.unwrap();

        assert_eq!(
            replay
                .to_snapshot(&group, &format!("{topic}-before"))
                .await
                .unwrap(),
            1
        );
        let second = consumer(&*resource, runtime).await;
        let handled = handle(&*second, runtime, 2).await;
        assert_eq!((ids(&handled), handled[0].replay), (vec!["0", "1"], 1));
        second.close().await.unwrap();

        assert_eq!(queue.replay(&group, &Start::Earliest).await.unwrap(), 2);
        let third = consumer(&*resource, runtime).await;
        let handled = handle(&*third, runtime, 2).await;
        assert_eq!((ids(&handled), handled[0].replay), (vec!["0", "1"], 2));
        third.close().await.unwrap();

        let gone = replay.to_snapshot(&group, "never-taken").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
        assert!(gone.to_string().contains("never-taken"), "{gone}");
        replay
            .delete_snapshot(&format!("{topic}-before"))
            .await
            .unwrap();
    });
}

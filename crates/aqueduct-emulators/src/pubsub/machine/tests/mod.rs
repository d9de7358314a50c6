mod simulation;

use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    CreateSnapshotRequest, DeadLetterPolicy, PubsubMessage, ReceivedMessage, RetryPolicy,
    Subscription, Topic,
};
use tonic::Code;

use super::{Broker, Limits, Time, proto_duration};

const TOPIC: &str = "projects/p/topics/orders";
const NAME: &str = "projects/p/subscriptions/billing";
const START: Time = Duration::from_secs(1_000_000);
const LEASE: Duration = Duration::from_secs(10);
const ALL: Limits = Limits {
    batch: 1000,
    messages: None,
    bytes: None,
};

fn broker(change: impl FnOnce(&mut Subscription)) -> Broker {
    let mut broker = Broker::default();
    topic(&mut broker, TOPIC);
    let mut settings = Subscription {
        name: NAME.to_owned(),
        topic: TOPIC.to_owned(),
        ..Subscription::default()
    };
    change(&mut settings);
    broker.create_subscription(settings.into()).unwrap();
    broker
}

fn topic(broker: &mut Broker, name: &str) {
    let topic = Topic {
        name: name.to_owned(),
        ..Topic::default()
    };
    broker.create_topic(topic.into()).unwrap();
}

fn ordered(settings: &mut Subscription) {
    settings.enable_message_ordering = true;
}

fn publish(broker: &mut Broker, key: &str, texts: &[&str], now: Time) {
    let messages = texts.iter().map(|text| PubsubMessage {
        data: text.to_string().into(),
        ordering_key: key.to_owned(),
        ..PubsubMessage::default()
    });
    broker.publish(TOPIC, messages.collect(), now).unwrap();
}

fn pull(broker: &mut Broker, consumer: u64, now: Time) -> Vec<ReceivedMessage> {
    broker.pull(NAME, consumer, ALL, now + LEASE).unwrap()
}

fn text(received: &ReceivedMessage) -> String {
    let message = received.message.as_ref().unwrap();
    String::from_utf8(message.data.to_vec()).unwrap()
}

fn texts(received: &[ReceivedMessage]) -> Vec<String> {
    received.iter().map(text).collect()
}

fn ack(broker: &mut Broker, received: &ReceivedMessage) -> bool {
    broker
        .acknowledge(NAME, std::slice::from_ref(&received.ack_id))
        .unwrap()
        .is_empty()
}

fn nack(broker: &mut Broker, received: &ReceivedMessage, now: Time) {
    broker
        .modify(NAME, [(received.ack_id.clone(), 0)], now)
        .unwrap();
}

#[test]
fn a_key_goes_to_one_consumer_and_comes_again_in_order_after_a_nack() {
    let mut broker = broker(ordered);
    publish(&mut broker, "a", &["a1", "a2", "a3", "a4", "a5"], START);
    let first = pull(&mut broker, 1, START);
    assert_eq!(texts(&first), ["a1", "a2", "a3", "a4", "a5"]);
    publish(&mut broker, "a", &["a6"], START);
    assert!(pull(&mut broker, 2, START).is_empty());
    ack(&mut broker, &first[0]);
    // Acknowledged, but not before a2: it is delivered again after it, as the service documents.
    ack(&mut broker, &first[2]);
    nack(&mut broker, &first[1], START);
    assert_eq!(
        texts(&pull(&mut broker, 2, START)),
        ["a2", "a3", "a4", "a5", "a6"]
    );
    // Deliveries from before the nack have no effect.
    ack(&mut broker, &first[4]);
    assert_eq!(broker.unacknowledged(NAME), 5);
}

#[test]
fn an_extended_lease_lasts_and_one_that_ends_counts_as_a_failure() {
    let mut broker = broker(|_| {});
    publish(&mut broker, "", &["one"], START);
    let first = pull(&mut broker, 1, START);
    broker
        .modify(NAME, [(first[0].ack_id.clone(), 60)], START)
        .unwrap();
    broker.tick(START + 2 * LEASE);
    assert!(pull(&mut broker, 1, START + 2 * LEASE).is_empty());
    assert_eq!(broker.next_event(), Some(START + 6 * LEASE));
    broker.tick(START + 6 * LEASE);
    assert_eq!(pull(&mut broker, 1, START + 6 * LEASE).len(), 1);
    // A late acknowledgement counts without exactly-once delivery.
    assert!(ack(&mut broker, &first[0]));
    assert_eq!(broker.unacknowledged(NAME), 0);
    assert_eq!(broker.outstanding(NAME), 0);
}

#[test]
fn exactly_once_refuses_late_repeated_and_foreign_acknowledgements() {
    let mut broker = broker(|it| it.enable_exactly_once_delivery = true);
    publish(&mut broker, "", &["one"], START);
    let first = pull(&mut broker, 1, START);
    broker.tick(START + LEASE);
    assert!(!ack(&mut broker, &first[0]));
    let late = broker
        .modify(NAME, [(first[0].ack_id.clone(), 30)], START)
        .unwrap();
    assert_eq!(late, [first[0].ack_id.clone()]);
    let again = pull(&mut broker, 1, START + LEASE);
    assert!(ack(&mut broker, &again[0]));
    assert!(!ack(&mut broker, &again[0]));
    let foreign = broker.acknowledge(NAME, &["nonsense".to_owned(), "9-1-1".to_owned()]);
    assert_eq!(foreign.unwrap().len(), 2);
}

#[test]
fn back_off_doubles_up_to_its_maximum() {
    let seconds = |seconds| Some(proto_duration(Duration::from_secs(seconds)));
    let mut broker = broker(|it| {
        it.retry_policy = Some(RetryPolicy {
            minimum_backoff: seconds(10),
            maximum_backoff: seconds(35),
        });
    });
    publish(&mut broker, "", &["one"], START);
    let mut now = START;
    for delay in [10, 20, 35, 35] {
        let received = pull(&mut broker, 1, now);
        nack(&mut broker, &received[0], now);
        let early = now + Duration::from_secs(delay) - Duration::from_millis(1);
        broker.tick(early);
        assert!(pull(&mut broker, 1, early).is_empty());
        now += Duration::from_secs(delay);
        broker.tick(now);
    }
    assert_eq!(pull(&mut broker, 1, now).len(), 1);
}

#[test]
fn a_back_off_of_an_ordered_key_holds_its_later_messages() {
    let mut broker = broker(|it| {
        ordered(it);
        it.retry_policy = Some(RetryPolicy::default());
    });
    publish(&mut broker, "a", &["a1", "a2"], START);
    let received = pull(&mut broker, 1, START);
    nack(&mut broker, &received[0], START);
    publish(&mut broker, "b", &["b1"], START);
    assert_eq!(texts(&pull(&mut broker, 1, START)), ["b1"]);
    broker.tick(START + LEASE);
    assert_eq!(texts(&pull(&mut broker, 1, START + LEASE)), ["a1", "a2"]);
}

#[test]
fn a_dead_letter_waits_where_it_is_without_its_topic() {
    let dead = "projects/p/topics/dead";
    let mut broker = Broker::default();
    topic(&mut broker, TOPIC);
    topic(&mut broker, dead);
    let settings = Subscription {
        name: NAME.to_owned(),
        topic: TOPIC.to_owned(),
        enable_message_ordering: true,
        dead_letter_policy: Some(DeadLetterPolicy {
            dead_letter_topic: dead.to_owned(),
            max_delivery_attempts: 5,
        }),
        ..Subscription::default()
    };
    broker.create_subscription(settings.into()).unwrap();
    broker.delete_topic(dead).unwrap();
    publish(&mut broker, "a", &["a1", "a2"], START);
    for attempt in 1..=7 {
        let received = pull(&mut broker, 1, START);
        assert_eq!(texts(&received), ["a1", "a2"]);
        assert_eq!(received[0].delivery_attempt, attempt);
        nack(&mut broker, &received[0], START);
    }
    topic(&mut broker, dead);
    let received = pull(&mut broker, 1, START);
    nack(&mut broker, &received[0], START);
    assert_eq!(broker.unacknowledged(NAME), 1);
}

#[test]
fn flow_control_counts_messages_and_bytes() {
    let mut broker = broker(|_| {});
    publish(
        &mut broker,
        "",
        &["1234", "1234", "1234", "1234567890"],
        START,
    );
    let limits = |messages, bytes| Limits {
        batch: 1000,
        messages,
        bytes,
    };
    let two = broker
        .pull(NAME, 1, limits(Some(2), None), START + LEASE)
        .unwrap();
    assert_eq!(two.len(), 2);
    assert!(
        broker
            .pull(NAME, 1, limits(None, Some(10)), START + LEASE)
            .unwrap()
            .is_empty()
    );
    ack(&mut broker, &two[0]);
    assert_eq!(
        broker
            .pull(NAME, 1, limits(None, Some(10)), START + LEASE)
            .unwrap()
            .len(),
        1
    );
    // One message alone may be over the limit.
    assert_eq!(
        broker
            .pull(NAME, 2, limits(None, Some(5)), START + LEASE)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_seek_makes_earlier_deliveries_void() {
    let mut broker = broker(|_| {});
    publish(&mut broker, "", &["old"], START);
    let later = START + Duration::from_secs(5);
    publish(&mut broker, "", &["new"], later);
    let received = pull(&mut broker, 1, later);
    broker.seek_to_time(NAME, later, later).unwrap();
    assert!(ack(&mut broker, &received[1]));
    assert_eq!(texts(&pull(&mut broker, 1, later)), ["new"]);
    let request = CreateSnapshotRequest {
        name: "projects/p/snapshots/one".to_owned(),
        subscription: NAME.to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let snapshot = broker.create_snapshot(request, later).unwrap();
    broker.seek_to_time(NAME, later * 2, later).unwrap();
    assert_eq!(broker.unacknowledged(NAME), 0);
    broker
        .seek_to_snapshot(NAME, &snapshot.name, later)
        .unwrap();
    assert_eq!(texts(&pull(&mut broker, 1, later)), ["new"]);
    let after_expiry = later + Duration::from_secs(8 * 24 * 3600);
    let refused = broker.seek_to_snapshot(NAME, &snapshot.name, after_expiry);
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
}

use std::collections::{HashMap, HashSet};
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
        .acknowledge(NAME, &[received.ack_id.clone()])
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

/// Random consumers that acknowledge, give back, extend and forget: what must hold whatever they do.
#[test]
fn every_message_is_acknowledged_once_and_keys_stay_in_order() {
    for seed in 0..100 {
        simulate(seed, seed % 2 == 0);
    }
}

fn simulate(seed: u64, exactly_once: bool) {
    let mut random = Random(seed);
    let mut broker = broker(|it| {
        ordered(it);
        it.enable_exactly_once_delivery = exactly_once;
    });
    let mut now = START;
    let mut published: HashMap<String, usize> = HashMap::new();
    let mut acknowledged: HashMap<String, HashSet<usize>> = HashMap::new();
    let mut held: Vec<(u64, ReceivedMessage)> = Vec::new();
    for step in 0..600 {
        let publishing = step < 300;
        match random.below(6) {
            0 if publishing => {
                let key = ["", "a", "b", "c"][random.below(4)];
                let number = published.entry(key.to_owned()).or_default();
                publish(&mut broker, key, &[&number.to_string()], now);
                *number += 1;
            }
            1 | 2 => {
                let consumer = random.below(3) as u64;
                let limits = Limits {
                    batch: 1 + random.below(4),
                    messages: Some(6),
                    bytes: None,
                };
                for received in broker.pull(NAME, consumer, limits, now + LEASE).unwrap() {
                    check_order(&received, consumer, &held, &acknowledged, &broker);
                    held.push((consumer, received));
                }
            }
            3 if publishing && !held.is_empty() => {
                let (_, received) = held.swap_remove(random.below(held.len()));
                nack(&mut broker, &received, now);
            }
            4 if publishing => {
                now += Duration::from_secs(random.below(8) as u64);
                broker.tick(now);
            }
            _ if !held.is_empty() => {
                let (_, received) = held.remove(0);
                let before = broker.unacknowledged(NAME);
                let counted = ack(&mut broker, &received);
                if counted && broker.unacknowledged(NAME) < before {
                    let key = received.message.as_ref().unwrap().ordering_key.clone();
                    let number = text(&received).parse().unwrap();
                    acknowledged.entry(key).or_default().insert(number);
                }
            }
            _ => {}
        }
        assert!(broker.outstanding(NAME) <= broker.unacknowledged(NAME) as u64);
    }
    // Whatever happened, everything can be received and acknowledged in the end, keys in order.
    broker.tick(now + 100 * LEASE);
    let mut last: HashMap<String, usize> = HashMap::new();
    for _ in 0..2_000 {
        let received = pull(&mut broker, 9, now + 100 * LEASE);
        if received.is_empty() {
            break;
        }
        for received in received {
            let key = received.message.as_ref().unwrap().ordering_key.clone();
            let number: usize = text(&received).parse().unwrap();
            if !key.is_empty() {
                let before = last.insert(key.clone(), number);
                assert!(
                    before.is_none_or(|before| before < number),
                    "seed {seed}: {key} {number}"
                );
            }
            assert!(ack(&mut broker, &received));
            acknowledged.entry(key).or_default().insert(number);
        }
    }
    assert_eq!(broker.unacknowledged(NAME), 0, "seed {seed}");
    for (key, count) in published {
        assert_eq!(
            acknowledged.get(&key).map_or(0, HashSet::len),
            count,
            "seed {seed} key {key}"
        );
    }
}

/// A key's message is delivered only when no earlier one waits.
fn check_order(
    received: &ReceivedMessage,
    consumer: u64,
    held: &[(u64, ReceivedMessage)],
    acknowledged: &HashMap<String, HashSet<usize>>,
    broker: &Broker,
) {
    let key = &received.message.as_ref().unwrap().ordering_key;
    if key.is_empty() {
        return;
    }
    let number: usize = text(received).parse().unwrap();
    let known = acknowledged.get(key);
    for earlier in 0..number {
        let done = known.is_some_and(|it| it.contains(&earlier));
        let delivered = held.iter().any(|(holder, it)| {
            let message = it.message.as_ref().unwrap();
            *holder == consumer && message.ordering_key == *key && text(it) == earlier.to_string()
        });
        let open = broker.subscriptions[NAME].backlog.unacknowledged();
        let mut open = open.filter(|it| it.wire.ordering_key == *key);
        let open = open.any(|it| it.wire.data == earlier.to_string());
        assert!(
            done || delivered || !open,
            "{key} {number} before {earlier}"
        );
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::ReceivedMessage;

use super::super::{Broker, Limits};
use super::{LEASE, NAME, START, ack, broker, nack, ordered, publish, pull, text};

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

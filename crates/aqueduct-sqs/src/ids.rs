//! Message group and deduplication ids: 1 to 128 printable ASCII characters without spaces.

use aqueduct_core::{DeadLetter, Event, Runtime};
use uuid::Uuid;

const LONGEST: usize = 128;

/// The prefix of hashed ids; a key that begins with it is hashed too, so the two cannot collide.
const HASHED: &str = "aqueduct-hash:";

/// Returns the message group of a key: the key itself if the service accepts it, otherwise a hash.
pub(crate) fn group_of_key(key: &str) -> String {
    match is_id(key) && !key.starts_with(HASHED) {
        true => key.to_owned(),
        false => hashed(b"key", key.as_bytes()),
    }
}

/// Returns a message group for an event without a key. Each event has its own, since such events
/// have no order.
pub(crate) fn group_of_keyless(event: &Event) -> String {
    let id = identity(event);
    hashed(b"event", id.as_bytes())
}

/// Returns the deduplication id of an event: its source and id, hashed if they do not fit.
///
/// A redriven event gets a random one: within five minutes of the first send the queue would drop
/// it as a duplicate.
pub(crate) fn dedup_of(event: &Event, runtime: &Runtime) -> String {
    if DeadLetter::target_group(event).is_some() {
        return random(runtime);
    }
    let id = identity(event);
    match is_id(&id) {
        true => id,
        false => hashed(b"event", id.as_bytes()),
    }
}

/// Returns a new random id.
pub(crate) fn random(runtime: &Runtime) -> String {
    format!("{:016x}{:016x}", runtime.random(), runtime.random())
}

/// Joins source and id into a text that is unique for the pair.
fn identity(event: &Event) -> String {
    let source = event.source();
    event
        .id()
        .with_str(|id| format!("{}:{source}{id}", source.len()))
}

fn hashed(kind: &[u8], text: &[u8]) -> String {
    const NAMESPACE: Uuid = Uuid::from_u128(0x3f2b_77c0_8a1e_5d4c_b1a6_0c55_9e3d_41f7);
    let kind = Uuid::new_v5(&NAMESPACE, kind);
    format!("{HASHED}{}", Uuid::new_v5(&kind, text))
}

fn is_id(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use aqueduct_runtime::Simulation;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_an_id_stays_readable() {
        let runtime = Simulation::new(1).runtime();
        let event = Event::new("t").with_id("A1").with_source("/shop");
        assert_eq!(dedup_of(&event, &runtime), "5:/shopA1");
        assert_eq!(group_of_key("VINET"), "VINET");
        let other = Event::new("t").with_id("1").with_source("/shopA");
        assert_ne!(dedup_of(&other, &runtime), dedup_of(&event, &runtime));
        let redriven = event
            .with_attribute(DeadLetter::TARGET_GROUP, "billing")
            .unwrap();
        let ids = [0, 1].map(|_| dedup_of(&redriven, &runtime));
        assert_ne!(ids[0], ids[1], "a redriven event must not be deduplicated");
    }

    proptest! {
        #[test]
        fn every_id_is_one_that_the_service_takes(source: String, id: String, key: String) {
            let runtime = Simulation::new(1).runtime();
            let event = Event::new("t").with_id(id).with_source(source);
            for made in [
                dedup_of(&event, &runtime),
                group_of_keyless(&event),
                group_of_key(&key),
                group_of_key(&format!("{HASHED}{key}")),
            ] {
                prop_assert!(is_id(&made), "{made}");
            }
        }

        #[test]
        fn two_keys_have_two_groups(a in "\\PC{0,140}", b in "\\PC{0,140}") {
            prop_assert_eq!(group_of_key(&a) == group_of_key(&b), a == b);
        }
    }
}

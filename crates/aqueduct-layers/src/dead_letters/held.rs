use std::collections::BTreeMap;

use aqueduct_core::{Assignment, GroupName, Instant, PartitionId, SmallStr, StreamName};

/// The diverted keys, as far as this process knows them.
#[derive(Default)]
pub(super) struct HeldKeys {
    streams: BTreeMap<(GroupName, StreamName), Known>,
}

#[derive(Default)]
struct Known {
    /// By key, when this process learnt of it.
    keys: BTreeMap<SmallStr, Instant>,
    read_at: Option<Instant>,
    /// The generation of each partition at the last reading: with a new owner the keys may have
    /// changed elsewhere.
    generations: BTreeMap<Option<PartitionId>, u64>,
}

impl HeldKeys {
    pub(super) fn holds(&self, assignment: &Assignment, key: &str) -> bool {
        let known = self.streams.get(&place(assignment));
        known.is_some_and(|known| known.keys.contains_key(key))
    }

    pub(super) fn hold(&mut self, assignment: &Assignment, key: SmallStr, now: Instant) {
        self.streams
            .entry(place(assignment))
            .or_default()
            .keys
            .insert(key, now);
    }

    /// Returns whether the keys of that assignment were read for its generation after `oldest`.
    pub(super) fn are_known(&self, assignment: &Assignment, oldest: Instant) -> bool {
        self.streams.get(&place(assignment)).is_some_and(|known| {
            known.read_at.is_some_and(|at| at >= oldest)
                && known.generations.get(&assignment.partition) == Some(&assignment.generation)
        })
    }

    /// Replaces the keys by those that the store had at `at`. A key diverted since then may be
    /// missing from them, and is kept.
    pub(super) fn read(&mut self, assignment: &Assignment, keys: Vec<SmallStr>, at: Instant) {
        let known = self.streams.entry(place(assignment)).or_default();
        known.keys.retain(|_, since| *since >= at);
        for key in keys {
            known.keys.entry(key).or_insert(at);
        }
        known.read_at = Some(at);
        known
            .generations
            .insert(assignment.partition.clone(), assignment.generation);
    }
}

fn place(assignment: &Assignment) -> (GroupName, StreamName) {
    (assignment.group.clone(), assignment.stream.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_that_becomes_held_while_the_store_is_asked_stays_held_until_it_is_asked_again() {
        let assignment = Assignment {
            stream: "orders".into(),
            group: "billing".into(),
            partition: Some("0".into()),
            generation: 1,
            replay: 0,
        };
        let second = |n| Instant::default() + Duration::from_secs(n);
        let mut held = HeldKeys::default();
        held.hold(&assignment, "before".into(), second(1));
        // Asked at 2, held at 3, returned at 4 with the keys as of 2.
        held.hold(&assignment, "meanwhile".into(), second(3));
        held.read(&assignment, vec!["stored".into()], second(2));
        assert!(held.holds(&assignment, "stored") && held.holds(&assignment, "meanwhile"));
        assert!(!held.holds(&assignment, "before"), "released elsewhere");
        held.read(&assignment, Vec::new(), second(5));
        assert!(!held.holds(&assignment, "meanwhile") && !held.holds(&assignment, "stored"));
    }
}

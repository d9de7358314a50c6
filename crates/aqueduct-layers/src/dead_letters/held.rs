use std::collections::{BTreeMap, BTreeSet};

use aqueduct_core::{Assignment, GroupName, Moment, PartitionId, StreamName, Text};

/// The keys whose events follow into the letters, as far as is known here.
#[derive(Default)]
pub(super) struct HeldKeys {
    streams: BTreeMap<(GroupName, StreamName), Known>,
}

#[derive(Default)]
struct Known {
    keys: BTreeSet<Text>,
    read_at: Option<Moment>,
    /// The generation of each partition at the last reading: a new one may come from a process
    /// that held keys which are not known here.
    generations: BTreeMap<Option<PartitionId>, u64>,
}

impl HeldKeys {
    pub(super) fn holds(&self, assignment: &Assignment, key: &str) -> bool {
        let known = self.streams.get(&place(assignment));
        known.is_some_and(|known| known.keys.contains(key))
    }

    pub(super) fn hold(&mut self, assignment: &Assignment, key: Text) {
        self.streams
            .entry(place(assignment))
            .or_default()
            .keys
            .insert(key);
    }

    /// Whether the keys of that assignment were read, for its generation, after `oldest`.
    pub(super) fn are_known(&self, assignment: &Assignment, oldest: Moment) -> bool {
        self.streams.get(&place(assignment)).is_some_and(|known| {
            known.read_at.is_some_and(|at| at >= oldest)
                && known.generations.get(&assignment.partition) == Some(&assignment.generation)
        })
    }

    /// What the store said of the assignment's stream.
    pub(super) fn read(&mut self, assignment: &Assignment, keys: Vec<Text>, at: Moment) {
        let known = self.streams.entry(place(assignment)).or_default();
        known.keys = keys.into_iter().collect();
        known.read_at = Some(at);
        known
            .generations
            .insert(assignment.partition.clone(), assignment.generation);
    }
}

fn place(assignment: &Assignment) -> (GroupName, StreamName) {
    (assignment.group.clone(), assignment.stream.clone())
}

use std::collections::{BTreeMap, BTreeSet};

use aqueduct_core::{Checkpoint, Lease, Partition, PartitionId};

use super::Row;

/// Decides which partitions may start, by their parents. Built once for all, since each partition
/// has two paths to each ancestor two generations up: asking per partition doubles the work with
/// each generation.
pub(super) struct Lineage<'a> {
    rows: &'a BTreeMap<PartitionId, Row>,
    partitions: &'a BTreeMap<PartitionId, Partition>,
    /// Partitions of which a descendant has started. They count as settled even without a lease.
    passed: BTreeSet<&'a PartitionId>,
}

impl<'a> Lineage<'a> {
    pub(super) fn new(
        rows: &'a BTreeMap<PartitionId, Row>,
        partitions: &'a BTreeMap<PartitionId, Partition>,
    ) -> Self {
        let started = rows.values().filter(|row| row.lease.generation > 0);
        let mut open: Vec<_> = started.flat_map(|row| &row.lease.parents).collect();
        let mut passed = BTreeSet::new();
        while let Some(id) = open.pop() {
            // Another store may keep the leases of the last generation alone: go on upwards.
            if passed.insert(id)
                && !rows.contains_key(id)
                && let Some(partition) = partitions.get(id)
            {
                open.extend(&partition.parents);
            }
        }
        Self {
            rows,
            partitions,
            passed,
        }
    }

    /// Returns whether a descendant of `id` has started.
    pub(super) fn is_passed(&self, id: &PartitionId) -> bool {
        self.passed.contains(id)
    }

    /// Returns whether every parent is settled to its end, or gone (rule 8).
    pub(super) fn parents_done(&self, lease: &Lease) -> bool {
        let listed = self.partitions.get(&lease.partition);
        let listed = listed.into_iter().flat_map(|partition| &partition.parents);
        lease
            .parents
            .iter()
            .chain(listed)
            .all(|parent| match self.rows.get(parent) {
                Some(row) => row.lease.checkpoint == Checkpoint::End,
                None => !self.partitions.contains_key(parent) || self.is_passed(parent),
            })
    }

    /// Returns whether the lease may be read and is not settled to its end.
    pub(super) fn is_readable(&self, lease: &Lease) -> bool {
        lease.checkpoint != Checkpoint::End && self.parents_done(lease)
    }

    /// Returns the leases of ended partitions that left the listing and whose children all have a
    /// checkpoint (rule 8).
    pub(super) fn obsolete(&self) -> Vec<Lease> {
        let mut needed: BTreeSet<&PartitionId> = BTreeSet::new();
        let mut not_started: BTreeSet<&PartitionId> = BTreeSet::new();
        for row in self.rows.values() {
            if matches!(row.lease.checkpoint, Checkpoint::Start(_)) {
                not_started.insert(&row.lease.partition);
                needed.extend(&row.lease.parents);
            }
        }
        self.rows
            .values()
            .map(|row| &row.lease)
            .filter(|lease| lease.checkpoint == Checkpoint::End)
            .filter(|lease| !self.partitions.contains_key(&lease.partition))
            .filter(|lease| !needed.contains(&lease.partition))
            .filter(|lease| !lease.children.iter().any(|it| not_started.contains(it)))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::{Instant, ReadFrom};

    use super::*;

    fn id(generation: usize, side: usize) -> PartitionId {
        PartitionId::new(format!("{generation}-{side}"))
    }

    fn row(lease: Lease) -> Row {
        let since = Instant::default();
        Row { lease, since }
    }

    /// Two partitions in each generation, each made of both before it.
    fn generations(count: usize) -> BTreeMap<PartitionId, Partition> {
        let mut all = BTreeMap::new();
        for generation in 0..count {
            for side in 0..2 {
                let mut partition = Partition::new(id(generation, side));
                if generation > 0 {
                    partition.parents = vec![id(generation - 1, 0), id(generation - 1, 1)];
                }
                all.insert(partition.id.clone(), partition);
            }
        }
        all
    }

    #[test]
    fn a_hundred_generations_are_looked_at_once_each() {
        let partitions = generations(100);
        let none = BTreeMap::new();
        let lineage = Lineage::new(&none, &partitions);
        let start = Checkpoint::Start(ReadFrom::Earliest);
        let readable = partitions.keys().filter(|id| {
            let lease = Lease::new((*id).clone(), start);
            lineage.is_readable(&lease)
        });
        assert_eq!(readable.count(), 2, "the oldest two");
        let mut last = Lease::new(id(99, 0), start);
        last.generation = 1;
        last.parents = partitions[&id(99, 0)].parents.clone();
        let rows = BTreeMap::from([(last.partition.clone(), row(last))]);
        let lineage = Lineage::new(&rows, &partitions);
        let passed = partitions.keys().filter(|id| lineage.is_passed(id));
        assert_eq!(passed.count(), 2 * 99, "all before the last generation");
    }

    #[test]
    fn an_ended_lease_stays_until_its_children_have_a_checkpoint() {
        let mut parent = Lease::new(id(0, 0), Checkpoint::End);
        parent.children = vec![id(1, 0)];
        let mut child = Lease::new(id(1, 0), Checkpoint::Start(ReadFrom::Earliest));
        child.parents = vec![id(0, 0)];
        let partitions = BTreeMap::new();
        let rows = |child: &Lease| {
            let both = [parent.clone(), child.clone()];
            both.map(|lease| (lease.partition.clone(), row(lease)))
                .into()
        };
        let waiting = rows(&child);
        assert!(Lineage::new(&waiting, &partitions).obsolete().is_empty());
        child.checkpoint = Checkpoint::At(aqueduct_core::Position::new(1));
        let done = rows(&child);
        assert_eq!(Lineage::new(&done, &partitions).obsolete().len(), 1);
    }
}

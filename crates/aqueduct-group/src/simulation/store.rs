use std::collections::BTreeMap;

use aqueduct_core::lease_rows::rules;
use aqueduct_core::{Lease, OwnerId, PartitionId, Swap};

/// The lease rows of the simulated store, under the rules of every other store.
#[derive(Default)]
pub(super) struct Store {
    pub(super) rows: BTreeMap<PartitionId, Lease>,
    pub(super) writes: u64,
    pub(super) lists: u64,
}

impl Store {
    pub(super) fn create(&mut self, lease: Lease) -> Lease {
        let id = lease.partition.clone();
        self.rows.entry(id).or_insert(lease).clone()
    }

    pub(super) fn swap(&mut self, current: &Lease, next: &Lease) -> Swap {
        self.writes += 1;
        let stored = self.rows.get_mut(&current.partition);
        let Some(stored) = stored else {
            return Swap::Lost(None);
        };
        match rules::swap(stored, current, next) {
            Some(row) => {
                stored.clone_from(&row);
                Swap::Swapped(row)
            }
            None => Swap::Lost(Some(stored.clone())),
        }
    }

    pub(super) fn request(&mut self, lease: &Lease, by: &OwnerId) -> Option<Lease> {
        self.amend(lease, |stored| rules::request(stored, lease, by))
    }

    pub(super) fn withdraw(&mut self, lease: &Lease, by: &OwnerId) -> Option<Lease> {
        self.amend(lease, |stored| rules::withdraw(stored, lease, by))
    }

    pub(super) fn delete(&mut self, lease: &Lease) -> Swap {
        match self.rows.get(&lease.partition) {
            Some(row) if lease.is_same_row(row) => {
                self.rows.remove(&lease.partition);
                Swap::Swapped(lease.clone())
            }
            row => Swap::Lost(row.cloned()),
        }
    }

    fn amend(
        &mut self,
        lease: &Lease,
        decide: impl FnOnce(&Lease) -> Option<Lease>,
    ) -> Option<Lease> {
        let stored = self.rows.get_mut(&lease.partition)?;
        if let Some(row) = decide(stored) {
            *stored = row;
        }
        Some(stored.clone())
    }
}

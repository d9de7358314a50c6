use std::collections::BTreeMap;

use aqueduct_core::{Lease, OwnerId, PartitionId, Swap};

/// The leases, as a store keeps them.
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

    pub(super) fn swap(&mut self, current: &Lease, mut next: Lease) -> Swap {
        self.writes += 1;
        match self.rows.get_mut(&current.partition) {
            Some(row) if row.is_same_row(current) => {
                if next.owner == row.owner {
                    next.wanted_by = row.wanted_by.clone();
                }
                *row = next;
                Swap::Swapped(row.clone())
            }
            row => Swap::Lost(row.cloned()),
        }
    }

    pub(super) fn request(&mut self, lease: &Lease, by: &OwnerId) -> Option<Lease> {
        let row = self.rows.get_mut(&lease.partition)?;
        if row.generation == lease.generation && row.owner.is_some() && row.wanted_by.is_none() {
            row.wanted_by = Some(by.clone());
        }
        Some(row.clone())
    }

    pub(super) fn delete(&mut self, lease: &Lease) -> Swap {
        match self.rows.get(&lease.partition) {
            Some(row) if row.is_same_row(lease) => {
                self.rows.remove(&lease.partition);
                Swap::Swapped(lease.clone())
            }
            row => Swap::Lost(row.cloned()),
        }
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aqueduct_core::{
    Error, ErrorKind, GroupKey, GroupRecord, Lease, LeaseStore, OwnerId, PartitionId, Result,
    Runtime, SmallStr, Swap,
};
use async_trait::async_trait;

use crate::faults::Operation;
use crate::stream::Stream;

/// The leases and group records of every group that keeps them here.
#[derive(Default)]
pub(crate) struct Leases {
    groups: BTreeMap<GroupKey, Group>,
    /// Members whose process is gone, as a test said.
    dead: BTreeSet<OwnerId>,
}

#[derive(Default)]
struct Group {
    record: Option<GroupRecord>,
    rows: BTreeMap<PartitionId, Lease>,
    writes: u64,
}

impl Leases {
    pub(crate) fn declare_dead(&mut self, owner: &OwnerId) {
        self.dead.insert(owner.clone());
    }

    pub(crate) fn row(&self, key: &GroupKey, partition: &PartitionId) -> Option<&Lease> {
        self.groups.get(key)?.rows.get(partition)
    }

    pub(crate) fn record(&self, key: &GroupKey) -> Option<&GroupRecord> {
        self.groups.get(key)?.record.as_ref()
    }

    fn group(&mut self, key: &GroupKey) -> &mut Group {
        self.groups.entry(key.clone()).or_default()
    }
}

impl Group {
    /// Stores the row under a version of its own and answers it.
    fn write(&mut self, mut lease: Lease) -> Lease {
        self.writes += 1;
        lease.version = SmallStr::from(self.writes.to_string());
        self.rows.insert(lease.partition.clone(), lease.clone());
        lease
    }

    /// What a write against `current` is told where the row is not as it says.
    fn lost(&self, current: &Lease) -> Option<Swap> {
        let stored = self.rows.get(&current.partition);
        let unchanged = stored.is_some_and(|stored| current.is_same_row(stored));
        (!unchanged).then(|| Swap::Lost(stored.cloned()))
    }

    /// Replaces `current` where the row is as it says.
    fn swap(&mut self, current: &Lease, mut next: Lease) -> Swap {
        if let Some(lost) = self.lost(current) {
            return lost;
        }
        if let Some(stored) = self.rows.get(&current.partition)
            && next.owner == stored.owner
            && stored.wanted_by != current.wanted_by
        {
            // Somebody asked meanwhile.
            next.wanted_by = stored.wanted_by.clone();
        }
        Swap::Swapped(self.write(next))
    }
}

pub(crate) struct MemoryLeases {
    stream: Arc<Stream>,
    runtime: Runtime,
}

impl MemoryLeases {
    pub(crate) fn new(stream: Arc<Stream>, runtime: Runtime) -> Self {
        Self { stream, runtime }
    }

    async fn read_from<T>(&self, work: impl FnOnce(&Leases) -> T) -> Result<T> {
        let read = || Ok(work(&self.stream.leases()));
        self.stream
            .plan
            .run(Operation::LeaseRead, &self.runtime, read)
            .await
    }

    async fn write_to<T>(&self, key: &GroupKey, work: impl FnOnce(&mut Group) -> T) -> Result<T> {
        self.try_write_to(key, |group| Ok(work(group))).await
    }

    async fn try_write_to<T>(
        &self,
        key: &GroupKey,
        work: impl FnOnce(&mut Group) -> Result<T>,
    ) -> Result<T> {
        let write = || work(self.stream.leases().group(key));
        let plan = &self.stream.plan;
        plan.run(Operation::LeaseWrite, &self.runtime, write).await
    }

    /// Answers `Lost`, with the row as it stands, where a conflict was injected.
    async fn swap_in(
        &self,
        key: &GroupKey,
        partition: &PartitionId,
        work: impl FnOnce(&mut Group) -> Result<Swap>,
    ) -> Result<Swap> {
        match self.try_write_to(key, work).await {
            Err(error) if error.is(ErrorKind::Conflict) => Ok(Swap::Lost(
                self.stream.leases().row(key, partition).cloned(),
            )),
            answer => answer,
        }
    }
}

#[async_trait]
impl LeaseStore for MemoryLeases {
    async fn list(&self, key: &GroupKey, _known: &[Lease]) -> Result<Vec<Lease>> {
        let list = |leases: &Leases| match leases.groups.get(key) {
            Some(group) => group.rows.values().cloned().collect(),
            None => Vec::new(),
        };
        self.read_from(list).await
    }

    async fn read(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        self.read_from(|leases| leases.row(key, partition).cloned())
            .await
    }

    async fn create(&self, key: &GroupKey, lease: Lease) -> Result<Lease> {
        let create = |group: &mut Group| match group.rows.get(&lease.partition) {
            Some(stored) => stored.clone(),
            None => group.write(lease),
        };
        self.write_to(key, create).await
    }

    async fn swap(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        same_partition(current, &next)?;
        self.swap_in(key, &current.partition, |group| {
            Ok(group.swap(current, next))
        })
        .await
    }

    async fn commit(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        same_partition(current, &next)?;
        let same_owner = current.owner == next.owner && current.generation == next.generation;
        let commit = |group: &mut Group| match group.lost(current) {
            Some(lost) => Ok(lost),
            None if same_owner => Ok(group.swap(current, next)),
            None => Err(changes_owner(current)),
        };
        self.swap_in(key, &current.partition, commit).await
    }

    async fn request(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        let request = |group: &mut Group| {
            let mut stored = group.rows.get(&lease.partition)?.clone();
            if stored.generation != lease.generation || stored.wanted_by.is_some() {
                return Some(stored);
            }
            stored.wanted_by = Some(by.clone());
            Some(group.write(stored))
        };
        self.write_to(key, request).await
    }

    async fn delete(&self, key: &GroupKey, lease: &Lease) -> Result<Swap> {
        let delete = |group: &mut Group| match group.lost(lease) {
            Some(lost) => Ok(lost),
            None => {
                let gone = group.rows.remove(&lease.partition);
                Ok(gone.map_or(Swap::Lost(None), Swap::Swapped))
            }
        };
        self.swap_in(key, &lease.partition, delete).await
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        self.read_from(|leases| leases.record(key).cloned()).await
    }

    async fn create_group(&self, key: &GroupKey, record: GroupRecord) -> Result<GroupRecord> {
        let create = |group: &mut Group| group.record.get_or_insert(record).clone();
        self.write_to(key, create).await
    }

    async fn reset_group(
        &self,
        key: &GroupKey,
        expected_replay: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord> {
        let reset = |group: &mut Group| match &group.record {
            Some(stored) if stored.replay != expected_replay => stored.clone(),
            _ => {
                group.rows.clear();
                group.record.insert(record).clone()
            }
        };
        self.write_to(key, reset).await
    }

    async fn join(&self, owner: &OwnerId) -> Result<()> {
        let join = || {
            self.stream.leases().dead.remove(owner);
            Ok(())
        };
        self.stream
            .plan
            .run(Operation::LeaseWrite, &self.runtime, join)
            .await
    }

    async fn leave(&self, owner: &OwnerId) -> Result<()> {
        let _ = owner;
        self.stream
            .plan
            .interrupt(Operation::LeaseWrite, &self.runtime)
            .await
    }

    /// Nobody dies alone in memory: true for those that a test declared dead.
    fn is_dead(&self, owner: &OwnerId) -> bool {
        self.stream.leases().dead.contains(owner)
    }
}

fn changes_owner(current: &Lease) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "a commit of partition {} changes its owner: that is a swap",
            current.partition
        ),
    )
}

fn same_partition(current: &Lease, next: &Lease) -> Result<()> {
    if current.partition == next.partition {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "the lease of partition {} cannot replace that of {}",
            next.partition, current.partition
        ),
    ))
}

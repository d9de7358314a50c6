use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aqueduct_core::lease_rows::{LeaseRows, RowWrite, rules};
use aqueduct_core::{
    ErrorKind, GroupKey, GroupRecord, Lease, OwnerId, PartitionId, Result, Runtime, SmallStr,
};
use async_trait::async_trait;

use crate::faults::Operation;
use crate::stream::Stream;

/// The leases and group records of every group that keeps them here.
#[derive(Default)]
pub(crate) struct Leases {
    groups: BTreeMap<GroupKey, Group>,
    /// Members that a test declared dead.
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
    fn put(&mut self, replaces: Option<&Lease>, mut row: Lease) -> RowWrite {
        let stored = self.rows.get(&row.partition);
        if !as_expected(stored, replaces) {
            return RowWrite::Changed(stored.cloned());
        }
        self.writes += 1;
        row.version = SmallStr::from(self.writes.to_string());
        self.rows.insert(row.partition.clone(), row.clone());
        RowWrite::Applied(row)
    }

    fn delete(&mut self, row: &Lease) -> RowWrite {
        let stored = self.rows.get(&row.partition);
        if !as_expected(stored, Some(row)) {
            return RowWrite::Changed(stored.cloned());
        }
        match self.rows.remove(&row.partition) {
            Some(gone) => RowWrite::Applied(gone),
            None => RowWrite::Changed(None),
        }
    }

    fn put_group(&mut self, replaces: Option<u64>, record: GroupRecord) -> Option<GroupRecord> {
        match (replaces, &self.record) {
            (None, None) => {}
            (Some(replay), Some(stored)) if stored.replay == replay => self.rows.clear(),
            (_, stored) => return stored.clone(),
        }
        Some(self.record.insert(record).clone())
    }
}

fn as_expected(stored: Option<&Lease>, expected: Option<&Lease>) -> bool {
    match (stored, expected) {
        (None, None) => true,
        (Some(stored), Some(expected)) => rules::is_unchanged(stored, expected),
        _ => false,
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
        let write = || Ok(work(self.stream.leases().group(key)));
        let plan = &self.stream.plan;
        plan.run(Operation::LeaseWrite, &self.runtime, write).await
    }

    /// Replaces a row. An injected conflict returns `Changed` with the current row.
    async fn write_over(
        &self,
        key: &GroupKey,
        partition: &PartitionId,
        work: impl FnOnce(&mut Group) -> RowWrite,
    ) -> Result<RowWrite> {
        match self.write_to(key, work).await {
            Err(error) if error.is(ErrorKind::Conflict) => Ok(RowWrite::Changed(
                self.stream.leases().row(key, partition).cloned(),
            )),
            written => written,
        }
    }
}

#[async_trait]
impl LeaseRows for MemoryLeases {
    async fn list(&self, key: &GroupKey, _known: &[Lease]) -> Result<Vec<Lease>> {
        let list = |leases: &Leases| match leases.groups.get(key) {
            Some(group) => group.rows.values().cloned().collect(),
            None => Vec::new(),
        };
        self.read_from(list).await
    }

    async fn get(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        self.read_from(|leases| leases.row(key, partition).cloned())
            .await
    }

    async fn put(&self, key: &GroupKey, replaces: Option<&Lease>, row: Lease) -> Result<RowWrite> {
        match replaces {
            None => self.write_to(key, |group| group.put(None, row)).await,
            Some(stored) => {
                let partition = row.partition.clone();
                self.write_over(key, &partition, |group| group.put(Some(stored), row))
                    .await
            }
        }
    }

    async fn delete(&self, key: &GroupKey, row: &Lease) -> Result<RowWrite> {
        self.write_over(key, &row.partition, |group| group.delete(row))
            .await
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        self.read_from(|leases| leases.record(key).cloned()).await
    }

    async fn put_group(
        &self,
        key: &GroupKey,
        replaces: Option<u64>,
        record: GroupRecord,
    ) -> Result<Option<GroupRecord>> {
        self.write_to(key, |group| group.put_group(replaces, record))
            .await
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

    /// Returns `true` for members that a test declared dead: all members share one process.
    fn is_dead(&self, owner: &OwnerId) -> bool {
        self.stream.leases().dead.contains(owner)
    }
}

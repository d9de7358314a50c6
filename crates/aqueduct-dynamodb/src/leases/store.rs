use aqueduct_core::lease_rows::rules;
use aqueduct_core::{
    Checkpoint, Error, ErrorKind, GroupKey, GroupRecord, Lease, LeaseStore, OwnerId, PartitionId,
    ReadFrom, Result, Swap,
};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnValue;

use crate::backend::STATE_KEY;
use crate::error::is_unknown;
use crate::expression::Expression;
use crate::item::{names, text};
use crate::table::Written;

use super::layout::{Place, is_lease};
use super::{DynamoDbLeases, Layout, columns, group, row};

impl DynamoDbLeases {
    async fn replace(&self, key: &GroupKey, current: &Lease, next: &Lease) -> Result<Swap> {
        let place = self.layout.place(key)?;
        if next.checkpoint == Checkpoint::End && current.checkpoint != Checkpoint::End {
            self.prepare_children(&place, next).await?;
        }
        let lease_key = place.lease_key(&current.partition);
        let write = row::replacement(&place, current, next, self.at_timestamp);
        let written = self.leases.update(&lease_key, write, ReturnValue::AllNew);
        match written.await? {
            Written::Done(Some(item)) => Ok(Swap::Swapped(self.lease(&place, &item).await?)),
            Written::Done(None) => Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "lease {lease_key}: the service returned no row for a write that should return one"
                ),
            )),
            Written::Refused(Some(item)) => Ok(Swap::Lost(Some(self.lease(&place, &item).await?))),
            Written::Refused(None) => Ok(Swap::Lost(None)),
        }
    }

    /// Writes to a lease if its generation is that of `lease`, and returns the stored row.
    async fn amend(
        &self,
        key: &GroupKey,
        lease: &Lease,
        mut write: Expression,
    ) -> Result<Option<Lease>> {
        let place = self.layout.place(key)?;
        row::expect_generation(&mut write, lease.generation);
        let lease_key = place.lease_key(&lease.partition);
        let written = self.leases.update(&lease_key, write, ReturnValue::AllNew);
        let (Written::Done(item) | Written::Refused(item)) = written.await?;
        match item {
            Some(item) => self.lease(&place, &item).await.map(Some),
            None => Ok(None),
        }
    }

    /// Creates the leases of a shard's children, which KCL expects once the shard has ended.
    async fn prepare_children(&self, place: &Place, parent: &Lease) -> Result<()> {
        for child in &parent.children {
            if let Some(found) = self.find(place, child).await? {
                self.name_parent(place, &found, parent).await?;
            } else {
                let mut lease = Lease::new(child.clone(), Checkpoint::Start(ReadFrom::Earliest));
                lease.parents.push(parent.partition.clone());
                lease.nonce = self.runtime.random();
                self.create_lease(place, &lease).await?;
            }
        }
        Ok(())
    }

    /// Adds `parent` to the parents that the row of `child` names: KCL begins a merged child once all
    /// parents named are finished.
    async fn name_parent(&self, place: &Place, child: &Lease, parent: &Lease) -> Result<()> {
        if child.parents.contains(&parent.partition) {
            return Ok(());
        }
        let parents = child.parents.iter().chain([&parent.partition]);
        let mut write = Expression::default();
        let exists = write.exists(columns::LEASE_KEY);
        write.expect(exists);
        if let Some(parents) = names(parents.map(PartitionId::as_str)) {
            write.set(columns::PARENTS, parents);
        }
        let lease_key = place.lease_key(&child.partition);
        // Refused if the row was deleted meanwhile: it needs no parents then.
        let written = self.leases.update(&lease_key, write, ReturnValue::None);
        written.await.map(drop)
    }

    /// Returns whether a lease would begin after the oldest event although KCL owned one of its parents,
    /// in which case the events in between would be skipped.
    async fn goes_on_for_kcl(&self, place: &Place, lease: &Lease) -> Result<bool> {
        let earliest = Checkpoint::Start(ReadFrom::Earliest);
        if lease.checkpoint == earliest || !matches!(lease.checkpoint, Checkpoint::Start(_)) {
            return Ok(false);
        }
        for parent in &lease.parents {
            let found = self.leases.get(&place.lease_key(parent)).await?;
            if found.is_some_and(|row| is_lease(&row) && !row.contains_key(columns::REPLAY)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the record with every shard at its oldest event if KCL has leases of this group.
    ///
    /// KCL has a lease for every hash key that it reads, so a shard without one either descends from
    /// a shard with a lease, however many reshards later, or was finished before, and is not created.
    /// A start such as "latest" would skip what KCL has not read of the descendants, and would count
    /// those already closed as read. Shards with a lease go on from KCL's checkpoint.
    async fn taking_over(&self, place: &Place, mut record: GroupRecord) -> Result<GroupRecord> {
        // KCL cannot read a shared table.
        if self.layout == Layout::Shared {
            return Ok(record);
        }
        let earliest = Checkpoint::Start(ReadFrom::Earliest);
        if record
            .start
            .partitions
            .iter()
            .all(|(_, it)| *it == earliest)
        {
            return Ok(record);
        }
        for item in self.leases.scan(place.filter()).await? {
            let row = self.leases.row(&item);
            if !row.has(columns::REPLAY) && place.partition(row)?.is_some() {
                tracing::info!(
                    key = %place.key, table = %self.leases.name,
                    "going on for a KCL application: shards that KCL has no lease for begin at their \
                     oldest event, whatever start is configured"
                );
                for (_, start) in &mut record.start.partitions {
                    *start = earliest;
                }
                break;
            }
        }
        Ok(record)
    }

    pub(super) async fn read_record(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        let row_key = self.layout.record_key(&self.leases.name, key);
        let Some(item) = self.state.get(&row_key).await? else {
            return Ok(None);
        };
        self.record_of(key, &item).map(Some)
    }

    pub(super) fn record_of(
        &self,
        key: &GroupKey,
        item: &crate::item::Item,
    ) -> Result<GroupRecord> {
        let row = self.state.row(item);
        let record = group::read(row, &self.leases.name, self.layout.as_str(), key)?;
        self.remember(key, &record);
        Ok(record)
    }
}

/// Implements the contract itself rather than through rows: KCL writes the same rows without a
/// version, so the rules are conditions on KCL's own attributes.
#[async_trait]
impl LeaseStore for DynamoDbLeases {
    async fn list(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>> {
        let place = self.layout.place(key)?;
        let mut leases = Vec::new();
        for item in self.leases.scan(place.filter()).await? {
            if let Some(stored) = self.stored(&place, &item).await? {
                self.look_for_foreigners(&stored, known);
                if stored.pending {
                    tracing::info!(
                        %key, partition = %stored.lease.partition,
                        "KCL prepared a checkpoint and did not complete it: reading from the previous one"
                    );
                }
                leases.push(stored.lease);
            }
        }
        leases.sort_by(|a, b| a.partition.cmp(&b.partition));
        Ok(leases)
    }

    async fn read(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        self.find(&self.layout.place(key)?, partition).await
    }

    async fn create(&self, key: &GroupKey, mut lease: Lease) -> Result<Lease> {
        let place = self.layout.place(key)?;
        if self.goes_on_for_kcl(&place, &lease).await? {
            lease.checkpoint = Checkpoint::Start(ReadFrom::Earliest);
        }
        self.create_lease(&place, &lease).await
    }

    async fn swap(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        rules::check_swap(current, &next)?;
        self.replace(key, current, &next).await
    }

    /// Renews and checkpoints in one write.
    async fn commit(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        rules::check_commit(current, &next)?;
        self.replace(key, current, &next).await
    }

    async fn request(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        let mut write = Expression::default();
        let conditions = [
            write.exists(columns::LEASE_KEY),
            write.missing(columns::WANTED_BY),
        ];
        conditions.into_iter().for_each(|it| write.expect(it));
        write.set(columns::WANTED_BY, text(by.as_str()));
        self.amend(key, lease, write).await
    }

    async fn withdraw(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        let mut write = Expression::default();
        let asked = write.equals(columns::WANTED_BY, text(by.as_str()));
        write.expect(asked);
        write.remove(columns::WANTED_BY);
        self.amend(key, lease, write).await
    }

    async fn delete(&self, key: &GroupKey, lease: &Lease) -> Result<Swap> {
        let place = self.layout.place(key)?;
        let mut condition = Expression::default();
        let exists = condition.exists(columns::LEASE_KEY);
        condition.expect(exists);
        row::expect_same(&mut condition, lease);
        let lease_key = place.lease_key(&lease.partition);
        match self.leases.delete(&lease_key, condition).await? {
            Written::Done(Some(item)) => Ok(Swap::Swapped(self.lease(&place, &item).await?)),
            Written::Done(None) | Written::Refused(None) => Ok(Swap::Lost(None)),
            Written::Refused(Some(item)) => Ok(Swap::Lost(Some(self.lease(&place, &item).await?))),
        }
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        self.layout.place(key)?;
        let row_key = self.layout.record_key(&self.leases.name, key);
        let Some(item) = self.state.get(&row_key).await? else {
            return Ok(None);
        };
        let record = self.record_of(key, &item)?;
        if self.state.row(&item).has(group::CLEARING) {
            self.clear(key, record.replay).await?;
        }
        Ok(Some(record))
    }

    async fn create_group(&self, key: &GroupKey, record: GroupRecord) -> Result<GroupRecord> {
        let place = self.layout.place(key)?;
        let record = self.taking_over(&place, record).await?;
        let row_key = self.layout.record_key(&self.leases.name, key);
        let mut condition = Expression::default();
        let missing = condition.missing(STATE_KEY);
        condition.expect(missing);
        let item = group::write(&row_key, key, &record);
        match self.state.put(item, condition).await {
            Ok(Written::Done(_)) => {
                self.remember(key, &record);
                Ok(record)
            }
            Ok(Written::Refused(Some(item))) => self.record_of(key, &item),
            Ok(Written::Refused(None)) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{key}: its record was deleted while it was being written"),
            )),
            Err(error) if is_unknown(&error) => match self.read_record(key).await {
                Ok(Some(stored)) => Ok(stored),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn reset_group(
        &self,
        key: &GroupKey,
        expected_replay: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord> {
        self.reset(key, expected_replay, record).await
    }

    /// Refuses to join while a KCL application uses the table.
    async fn join(&self, owner: &OwnerId) -> Result<()> {
        self.watch_foreigners(owner).await
    }

    async fn leave(&self, owner: &OwnerId) -> Result<()> {
        let _ = owner;
        Ok(())
    }

    /// Returns `false`: members run on several machines, so a dead process cannot be detected.
    fn is_dead(&self, owner: &OwnerId) -> bool {
        let _ = owner;
        false
    }
}

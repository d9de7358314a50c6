//! Makes a [`LeaseStore`](crate::LeaseStore) of a store of rows.
//!
//! A store that can list, read, and conditionally write or delete a row implements [`LeaseRows`];
//! [`RowLeases`] adds the rules of leases. The [`rules`] stand alone for stores whose layout is
//! someone else's, such as a table that another library reads too, and for simulations.

pub mod rules;
mod store;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

pub use self::store::RowLeases;
use crate::{GroupKey, GroupRecord, Lease, OwnerId, PartitionId, Result};

/// Stores lease rows; every row has a version that changes with each write.
///
/// # Errors
/// Those of [`LeaseStore`](crate::LeaseStore). A failed call with `Effect::Unknown` may have been
/// applied. A row that changed is not an error: it is [`RowWrite::Changed`].
#[async_trait]
pub trait LeaseRows: Send + Sync {
    /// Returns every row of the group. Rows of `known` whose version is unchanged may be returned
    /// from there instead of being read again.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn list(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>>;

    /// Returns one row as stored now.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn get(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>>;

    /// Writes `row` if the stored row is still `replaces`, or if there is none where `replaces` is
    /// `None`. [`rules::is_unchanged`] is the comparison.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn put(&self, key: &GroupKey, replaces: Option<&Lease>, row: Lease) -> Result<RowWrite>;

    /// Deletes the row if it is still `row`.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn delete(&self, key: &GroupKey, row: &Lease) -> Result<RowWrite>;

    /// Returns the record of the group as a whole.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>>;

    /// Stores `record` and returns what is stored then. With `replaces`, only over a record of that
    /// replay generation, and the group's rows are deleted in the same step; without, only where
    /// there is none. `None` if `replaces` is given and there is no record.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn put_group(
        &self,
        key: &GroupKey,
        replaces: Option<u64>,
        record: GroupRecord,
    ) -> Result<Option<GroupRecord>>;

    /// Announces a member before its first lease. Does nothing unless the store can detect dead
    /// members.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn join(&self, _owner: &OwnerId) -> Result<()> {
        Ok(())
    }

    /// Withdraws the announcement.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn leave(&self, _owner: &OwnerId) -> Result<()> {
        Ok(())
    }

    /// Whether the member's process is known to be gone. Never blocks for long.
    fn is_dead(&self, _owner: &OwnerId) -> bool {
        false
    }
}

/// The result of a conditional write of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowWrite {
    /// Applied; the row with its new version, or the deleted row.
    Applied(Lease),
    /// Not applied: the stored row is another one, or there is none.
    Changed(Option<Lease>),
}

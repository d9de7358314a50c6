use async_trait::async_trait;

use super::{LeaseRows, RowWrite, rules};
use crate::{
    Error, ErrorKind, GroupKey, GroupRecord, Lease, LeaseStore, OwnerId, PartitionId, Result, Swap,
};

/// How often a write is repeated because the row changed in what it does not compare. Requests and
/// withdrawals are rare, so a second round is the exception.
const ROUNDS: usize = 16;

/// Keeps leases in rows.
#[derive(Clone, Debug)]
pub struct RowLeases<R>(R);

impl<R: LeaseRows> RowLeases<R> {
    /// Creates a lease store of `rows`.
    pub fn new(rows: R) -> Self {
        Self(rows)
    }

    /// Writes over the row as the caller read it, without reading it first. A row that changed
    /// comes back with the refusal, and the decision is made again on it.
    async fn replace(&self, key: &GroupKey, current: &Lease, next: &Lease) -> Result<Swap> {
        let mut stored = current.clone();
        for _ in 0..ROUNDS {
            let Some(row) = rules::swap(&stored, current, next) else {
                return Ok(Swap::Lost(Some(stored)));
            };
            let found = match self.0.put(key, Some(&stored), row).await? {
                RowWrite::Applied(row) => return Ok(Swap::Swapped(row)),
                RowWrite::Changed(None) => return Ok(Swap::Lost(None)),
                RowWrite::Changed(Some(found)) => found,
            };
            // Refused although nothing changed: the store's condition compares more than versions,
            // or it reports a conflict of its own. The caller reads the row and decides.
            if found.version == stored.version {
                return Ok(Swap::Lost(Some(found)));
            }
            stored = found;
        }
        Err(restless(key, &current.partition))
    }

    /// Applies `decide` to the row as stored, and returns the row as it stands then.
    async fn amend(
        &self,
        key: &GroupKey,
        lease: &Lease,
        decide: impl Fn(&Lease) -> Option<Lease> + Send,
    ) -> Result<Option<Lease>> {
        let mut stored = match decide(lease) {
            Some(_) => lease.clone(),
            // The caller's row may be out of date.
            None => match self.0.get(key, &lease.partition).await? {
                Some(stored) => stored,
                None => return Ok(None),
            },
        };
        for _ in 0..ROUNDS {
            let Some(row) = decide(&stored) else {
                return Ok(Some(stored));
            };
            let found = match self.0.put(key, Some(&stored), row).await? {
                RowWrite::Applied(row) => return Ok(Some(row)),
                RowWrite::Changed(None) => return Ok(None),
                RowWrite::Changed(Some(found)) => found,
            };
            if found.version == stored.version {
                return Ok(Some(found));
            }
            stored = found;
        }
        Err(restless(key, &lease.partition))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: LeaseRows> LeaseStore for RowLeases<R> {
    async fn list(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>> {
        self.0.list(key, known).await
    }

    async fn read(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        self.0.get(key, partition).await
    }

    async fn create(&self, key: &GroupKey, lease: Lease) -> Result<Lease> {
        let partition = lease.partition.clone();
        match self.0.put(key, None, lease).await? {
            RowWrite::Applied(row) | RowWrite::Changed(Some(row)) => Ok(row),
            RowWrite::Changed(None) => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{key}: the lease of partition {partition} was deleted while it was created"
                ),
            )),
        }
    }

    async fn swap(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        rules::check_swap(current, &next)?;
        self.replace(key, current, &next).await
    }

    async fn commit(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        rules::check_commit(current, &next)?;
        self.replace(key, current, &next).await
    }

    async fn request(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        self.amend(key, lease, |stored| rules::request(stored, lease, by))
            .await
    }

    async fn withdraw(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        self.amend(key, lease, |stored| rules::withdraw(stored, lease, by))
            .await
    }

    async fn delete(&self, key: &GroupKey, lease: &Lease) -> Result<Swap> {
        let mut stored = lease.clone();
        for _ in 0..ROUNDS {
            let found = match self.0.delete(key, &stored).await? {
                RowWrite::Applied(row) => return Ok(Swap::Swapped(row)),
                RowWrite::Changed(found) => found,
            };
            match found {
                Some(found) if found.version != stored.version && lease.is_same_row(&found) => {
                    stored = found;
                }
                found => return Ok(Swap::Lost(found)),
            }
        }
        Err(restless(key, &lease.partition))
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        self.0.group(key).await
    }

    async fn create_group(&self, key: &GroupKey, record: GroupRecord) -> Result<GroupRecord> {
        let written = record.clone();
        let stored = self.0.put_group(key, None, record).await?;
        Ok(stored.unwrap_or(written))
    }

    async fn reset_group(
        &self,
        key: &GroupKey,
        expected_replay: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord> {
        let stored = self.0.put_group(key, Some(expected_replay), record).await?;
        stored.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("{key} has not started yet, so there is nothing to reset"),
            )
        })
    }

    async fn join(&self, owner: &OwnerId) -> Result<()> {
        self.0.join(owner).await
    }

    async fn leave(&self, owner: &OwnerId) -> Result<()> {
        self.0.leave(owner).await
    }

    fn is_dead(&self, owner: &OwnerId) -> bool {
        self.0.is_dead(owner)
    }
}

fn restless(key: &GroupKey, partition: &PartitionId) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "{key}: the lease of partition {partition} changed {ROUNDS} times during one write"
        ),
    )
}

use aqueduct_core::lease_rows::{LeaseRows, RowWrite};
use aqueduct_core::sync::lock;
use aqueduct_core::{
    Checkpoint, Error, ErrorKind, GroupKey, GroupRecord, Lease, OwnerId, PartitionId, Result,
};
use async_trait::async_trait;
use bytes::Bytes;

use super::ObjectLeases;
use super::blobs;
use super::fields::Row;
use super::found::{Found, is_foreign, ours, version_of};
use super::layout::Folder;
use crate::bucket::{Content, Expect, Put};

/// How often a creation is repeated because the object of a deleted lease changed meanwhile.
const ROUNDS: usize = 4;

impl ObjectLeases {
    fn content(&self, row: &Row) -> Result<Content> {
        match self.layout.is_processor() {
            true => blobs::ownership(row),
            false => Ok(Content {
                body: Bytes::from(row.to_json()?),
                metadata: Vec::new(),
            }),
        }
    }

    /// Reads a lease as stored now. A row of a later replay than known means that the group was
    /// reset by another process.
    async fn current(
        &self,
        key: &GroupKey,
        folder: &Folder,
        partition: &PartitionId,
    ) -> Result<(Option<Found>, Option<Lease>)> {
        let name = folder.lease(partition);
        let file = name.rsplit('/').next().unwrap_or_default();
        let mut record = self.record(key, folder).await?;
        let found = self.read_row(key, folder, file).await?;
        let Some(found) = found else {
            lock(&self.rows).remove(&name);
            return Ok((None, None));
        };
        if found.row.replay > record.replay() {
            record = self.read_record(key, folder).await?;
        }
        lock(&self.rows).insert(name, found.clone());
        let lease = found.lease(&record);
        Ok((Some(found), lease))
    }

    fn applied(&self, name: &str, row: Row, put: crate::bucket::Version) -> Lease {
        let found = ours(row, put);
        let lease = found.row.lease.clone();
        lock(&self.rows).insert(name.to_owned(), found);
        lease
    }

    async fn create_row(&self, key: &GroupKey, mut lease: Lease) -> Result<RowWrite> {
        let folder = self.layout.folder(key);
        let name = folder.lease(&lease.partition);
        let replay = self.record(key, &folder).await?.replay();
        if let Some(checkpoint) = self.left_by_a_processor(&folder, &name, &lease).await? {
            lease.checkpoint = checkpoint.checkpoint;
            lease.resume_token = checkpoint.resume_token;
        }
        let row = Row::new(lease, replay, self.runtime.random());
        let content = self.content(&row)?;
        let mut over = None;
        for _ in 0..ROUNDS {
            let expect = match &over {
                None => Expect::Absent,
                Some(version) => Expect::Version(version),
            };
            if let Put::Done(version) = self.bucket.put(&name, content.clone(), expect).await? {
                return Ok(RowWrite::Applied(self.applied(&name, row, version)));
            }
            let (found, lease) = self.current(key, &folder, &row.lease.partition).await?;
            match (found, lease) {
                (Some(found), _) if found.row.stamp == row.stamp => {
                    return Ok(RowWrite::Applied(found.row.lease));
                }
                (_, Some(lease)) => return Ok(RowWrite::Changed(Some(lease))),
                (found, None) => over = found.map(|found| found.version),
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("{} changed during its creation", self.bucket.shown(&name)),
        ))
    }

    /// Returns the checkpoint of a processor that deleted its ownership blob, or never had one.
    async fn left_by_a_processor(
        &self,
        folder: &Folder,
        name: &str,
        lease: &Lease,
    ) -> Result<Option<blobs::ForeignCheckpoint>> {
        if !self.layout.is_processor() || !matches!(lease.checkpoint, Checkpoint::Start(_)) {
            return Ok(None);
        }
        let file = name.rsplit('/').next().unwrap_or_default();
        let left = self.read_checkpoint(folder, file).await?;
        Ok(left.map(|(checkpoint, _)| checkpoint))
    }

    async fn replace_row(&self, key: &GroupKey, stored: &Lease, row: Row) -> Result<RowWrite> {
        let folder = self.layout.folder(key);
        let name = folder.lease(&stored.partition);
        // A processor does not hand off, and a request would take its lease from it.
        let asks = is_foreign(stored) && row.lease.owner == stored.owner && !row.deleted;
        if let (Some(version), false) = (version_of(stored), asks) {
            let content = self.content(&row)?;
            let put = self.bucket.put(&name, content, Expect::Version(&version));
            if let Put::Done(version) = put.await? {
                return Ok(RowWrite::Applied(self.applied(&name, row, version)));
            }
        }
        let (found, lease) = self.current(key, &folder, &stored.partition).await?;
        Ok(match found {
            // A repeated request: the first one was carried out, and its response was lost.
            Some(found) if !asks && found.row.stamp == row.stamp => {
                RowWrite::Applied(found.row.lease)
            }
            _ => RowWrite::Changed(lease),
        })
    }
}

#[async_trait]
impl LeaseRows for ObjectLeases {
    async fn list(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>> {
        self.list_leases(key, known).await
    }

    async fn get(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        let folder = self.layout.folder(key);
        let (_, lease) = self.current(key, &folder, partition).await?;
        Ok(lease)
    }

    async fn put(&self, key: &GroupKey, replaces: Option<&Lease>, row: Lease) -> Result<RowWrite> {
        let Some(stored) = replaces else {
            return self.create_row(key, row).await;
        };
        let folder = self.layout.folder(key);
        let replay = self.record(key, &folder).await?.replay();
        let row = Row::new(row, replay, self.runtime.random());
        let written = self.replace_row(key, stored, row).await?;
        if let (RowWrite::Applied(now), true) = (&written, self.layout.is_processor()) {
            let name = folder.checkpoint(&now.partition);
            self.checkpoints.follow(&name, stored, now).await;
        }
        Ok(written)
    }

    async fn delete(&self, key: &GroupKey, row: &Lease) -> Result<RowWrite> {
        let folder = self.layout.folder(key);
        let replay = self.record(key, &folder).await?.replay();
        let mut gone = Row::new(row.clone(), replay, self.runtime.random());
        gone.deleted = true;
        let written = self.replace_row(key, row, gone).await?;
        if let (RowWrite::Applied(_), true) = (&written, self.layout.is_processor()) {
            let name = folder.checkpoint(&row.partition);
            self.checkpoints.delete(&name).await?;
        }
        Ok(written)
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        let folder = self.layout.folder(key);
        Ok(self.read_record(key, &folder).await?.record)
    }

    async fn put_group(
        &self,
        key: &GroupKey,
        replaces: Option<u64>,
        record: GroupRecord,
    ) -> Result<Option<GroupRecord>> {
        match replaces {
            None => self.create_record(key, record).await.map(Some),
            Some(replay) => self.reset(key, replay, record).await,
        }
    }

    async fn join(&self, owner: &OwnerId) -> Result<()> {
        self.watch_foreigners(owner).await
    }

    async fn leave(&self, _owner: &OwnerId) -> Result<()> {
        Ok(())
    }

    /// Returns `false`: an object store does not know processes.
    fn is_dead(&self, _owner: &OwnerId) -> bool {
        false
    }
}

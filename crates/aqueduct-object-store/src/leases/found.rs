use aqueduct_core::{Checkpoint, GroupKey, Lease, PartitionId, ReadFrom, Result, SmallStr};

use super::blobs::{self, ForeignCheckpoint, Ownership};
use super::fields::Row;
use super::layout::{Folder, partition_of};
use super::{KnownRecord, ObjectLeases};
use crate::bucket::{Object, Version};

/// A lease's object as read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) row: Row,
    pub(super) version: Version,
    /// Set if a processor wrote it: the tag of its checkpoint blob, empty without one.
    pub(super) foreign: Option<SmallStr>,
}

impl Found {
    /// Returns the lease; `None` if it counts as absent.
    pub(super) fn lease(&self, record: &KnownRecord) -> Option<Lease> {
        let is_of_this_replay = self.foreign.is_some() || self.row.replay == record.replay();
        (!self.row.deleted && is_of_this_replay).then(|| self.row.lease.clone())
    }
}

/// Separates the version of a processor's ownership blob from the tag of its checkpoint blob, in the
/// version of a lease.
const FOREIGN: char = '\n';

/// Returns whether a processor wrote the lease.
pub(super) fn is_foreign(lease: &Lease) -> bool {
    lease.version.contains(FOREIGN)
}

/// Returns the version that a write replaces.
pub(super) fn version_of(lease: &Lease) -> Option<Version> {
    Version::parse(lease.version.split(FOREIGN).next().unwrap_or_default())
}

impl ObjectLeases {
    /// Reads the object of a lease; `file` is its name in its folder.
    pub(super) async fn read_row(
        &self,
        key: &GroupKey,
        folder: &Folder,
        file: &str,
    ) -> Result<Option<Found>> {
        let name = folder.lease_at(file);
        let object = match self.layout.is_processor() {
            true => self.bucket.head(&name).await?,
            false => self.bucket.get(&name).await?,
        };
        let Some(object) = object else {
            return Ok(None);
        };
        let damaged = |error: aqueduct_core::Error| error.context(self.bucket.shown(&name));
        if !self.layout.is_processor() {
            let row = Row::from_json(&object.body).map_err(damaged)?;
            return Ok(Some(ours(row, object.version)));
        }
        match blobs::read_ownership(&object.metadata).map_err(damaged)? {
            Ownership::Ours(row) => Ok(Some(ours(*row, object.version))),
            Ownership::Foreign(owner) => {
                let partition =
                    partition_of(file).unwrap_or_else(|| PartitionId::new(file.to_owned()));
                let blob = self.read_checkpoint(folder, file).await?;
                let (from, tag) = match blob {
                    Some((from, tag)) => (from, tag),
                    None => (
                        self.start_of(key, folder, &partition).await?,
                        SmallStr::default(),
                    ),
                };
                let version = SmallStr::from(format!("{}{FOREIGN}{tag}", object.version));
                let lease = blobs::foreign_lease(partition, owner, &object, from, version);
                Ok(Some(Found {
                    row: Row::new(lease, 0, 0),
                    version: object.version,
                    foreign: Some(tag),
                }))
            }
        }
    }

    /// Reads a checkpoint blob and its tag.
    pub(super) async fn read_checkpoint(
        &self,
        folder: &Folder,
        file: &str,
    ) -> Result<Option<(ForeignCheckpoint, SmallStr)>> {
        let name = folder.checkpoint_at(file);
        let Some(Object {
            metadata, version, ..
        }) = self.bucket.head(&name).await?
        else {
            return Ok(None);
        };
        let read = blobs::read_checkpoint(&metadata)
            .map_err(|error| error.context(self.bucket.shown(&name)))?;
        Ok(Some((read, version.bare().into())))
    }

    /// Returns where the group starts a partition that a processor owned and never checkpointed.
    async fn start_of(
        &self,
        key: &GroupKey,
        folder: &Folder,
        partition: &PartitionId,
    ) -> Result<ForeignCheckpoint> {
        let known = self.record(key, folder).await?;
        let start = known.record.as_ref().and_then(|record| {
            let mut all = record.start.partitions.iter();
            all.find(|(id, _)| id == partition)
                .map(|(_, checkpoint)| *checkpoint)
        });
        Ok(ForeignCheckpoint {
            checkpoint: start.unwrap_or(Checkpoint::Start(ReadFrom::Earliest)),
            resume_token: None,
        })
    }
}

pub(super) fn ours(mut row: Row, version: Version) -> Found {
    row.lease.version = version.to_string().into();
    Found {
        row,
        version,
        foreign: None,
    }
}

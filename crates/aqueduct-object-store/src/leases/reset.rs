use aqueduct_core::{GroupKey, GroupRecord, Result};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use super::fields::Row;
use super::layout::{Entry, Folder};
use super::{KnownRecord, ObjectLeases, blobs, group};
use crate::bucket::{Content, Expect, Put, Version};

/// The number of objects written at once.
const CONCURRENCY: usize = 16;

impl ObjectLeases {
    /// Stores the record if there is none, and returns the stored one.
    pub(super) async fn create_record(
        &self,
        key: &GroupKey,
        record: GroupRecord,
    ) -> Result<GroupRecord> {
        let folder = self.layout.folder(key);
        let written = self.put_record(key, &folder, &record, None).await?;
        // `None`: it was deleted by hand between the two requests.
        Ok(written.unwrap_or(record))
    }

    /// Replaces the record of replay `expected`. That alone makes every row of Aqueduct's absent,
    /// since a row names its replay. A processor's blobs name none and are emptied before.
    pub(super) async fn reset(
        &self,
        key: &GroupKey,
        expected: u64,
        record: GroupRecord,
    ) -> Result<Option<GroupRecord>> {
        let folder = self.layout.folder(key);
        let known = self.read_record(key, &folder).await?;
        match &known.record {
            None => return Ok(None),
            Some(stored) if stored.replay != expected => return Ok(Some(stored.clone())),
            Some(_) => {}
        }
        if self.layout.is_processor() {
            self.clear(key, &folder, true).await?;
        }
        let stored = self
            .put_record(key, &folder, &record, Some(&known.version))
            .await?;
        if stored.as_ref() == Some(&record)
            && let Err(error) = self.clear(key, &folder, false).await
        {
            // They are absent all the same; only an owner that still runs is not cut off yet.
            tracing::warn!(
                %key, %error,
                "could not clear every lease of the previous replay: they do not count"
            );
        }
        Ok(stored)
    }

    /// Returns the record stored then.
    async fn put_record(
        &self,
        key: &GroupKey,
        folder: &Folder,
        record: &GroupRecord,
        over: Option<&Version>,
    ) -> Result<Option<GroupRecord>> {
        let content = Content {
            body: Bytes::from(group::write(key, record)?),
            metadata: Vec::new(),
        };
        let expect = over.map_or(Expect::Absent, Expect::Version);
        match self.bucket.put(&folder.record(), content, expect).await? {
            Put::Done(version) => {
                let known = KnownRecord {
                    record: Some(record.clone()),
                    version,
                };
                self.remember(key, known);
                Ok(Some(record.clone()))
            }
            Put::Refused => Ok(self.read_record(key, folder).await?.record),
        }
    }

    /// Marks the leases of the folder as deleted; those of processors, or those of Aqueduct.
    async fn clear(&self, key: &GroupKey, folder: &Folder, of_processors: bool) -> Result<()> {
        let mut work = Vec::new();
        for object in self.bucket.list(folder.path()).await? {
            match folder.entry(&object.name) {
                Some(Entry::Checkpoint(file)) if of_processors => {
                    work.push((file, true));
                }
                Some(Entry::Lease(file)) => work.push((file, false)),
                _ => {}
            }
        }
        let work = work.into_iter().map(|(file, is_checkpoint)| async move {
            match is_checkpoint {
                true => self.checkpoints.delete(&folder.checkpoint_at(&file)).await,
                false => self.clear_lease(key, folder, &file, of_processors).await,
            }
        });
        futures::stream::iter(work)
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    async fn clear_lease(
        &self,
        key: &GroupKey,
        folder: &Folder,
        file: &str,
        of_processors: bool,
    ) -> Result<()> {
        let Some(found) = self.read_row(key, folder, file).await? else {
            return Ok(());
        };
        if found.row.deleted || found.foreign.is_some() != of_processors {
            return Ok(());
        }
        let mut gone = Row::new(found.row.lease, found.row.replay, self.runtime.random());
        gone.deleted = true;
        let content = match self.layout.is_processor() {
            true => blobs::ownership(&gone)?,
            false => Content {
                body: Bytes::from(gone.to_json()?),
                metadata: Vec::new(),
            },
        };
        // Refused: an owner renewed it. It is not of this replay, so it does not count.
        let name = folder.lease_at(file);
        self.bucket
            .put(&name, content, Expect::Version(&found.version))
            .await
            .map(drop)
    }
}

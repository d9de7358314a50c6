use std::collections::HashMap;
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{GroupKey, Lease, Result};
use futures::{StreamExt as _, TryStreamExt as _};

use super::found::{Found, is_foreign};
use super::layout::{Entry, Folder};
use super::{KnownRecord, ObjectLeases};
use crate::bucket::{Listed, Version};

/// The number of objects read at once.
const CONCURRENCY: usize = 16;

/// How long the object of a deleted lease stays. Deletions have no condition, so it must be certain
/// that no member still creates the lease anew.
const DELETED_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// The objects of a group's folder.
#[derive(Default)]
struct Contents {
    record: Version,
    leases: Vec<(String, Listed)>,
    checkpoints: HashMap<String, Version>,
}

impl Contents {
    fn of(folder: &Folder, listed: Vec<Listed>) -> Self {
        let mut contents = Self::default();
        for object in listed {
            match folder.entry(&object.name) {
                Some(Entry::Record) => contents.record = object.version,
                Some(Entry::Lease(file)) => contents.leases.push((file, object)),
                Some(Entry::Checkpoint(file)) => {
                    contents.checkpoints.insert(file, object.version);
                }
                None => {}
            }
        }
        contents
    }
}

impl ObjectLeases {
    /// Lists the folder and reads the objects that changed since they were read.
    pub(super) async fn list_leases(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>> {
        let folder = self.layout.folder(key);
        let contents = Contents::of(&folder, self.bucket.list(folder.path()).await?);
        let record = self.record_as_listed(key, &folder, &contents).await?;
        let read: Vec<_> = contents
            .leases
            .iter()
            .map(|(file, listed)| {
                let checkpoint = contents.checkpoints.get(file);
                self.row_as_listed(key, &folder, file, listed, checkpoint)
            })
            .collect();
        let rows: Vec<Option<Found>> = futures::stream::iter(read)
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        let mut leases = Vec::with_capacity(rows.len());
        let mut cache = HashMap::with_capacity(rows.len());
        for ((file, listed), found) in contents.leases.iter().zip(rows) {
            let Some(found) = found else {
                continue;
            };
            if found.row.deleted && self.is_past(listed) {
                self.bucket.delete(&folder.lease_at(file)).await?;
                continue;
            }
            if let Some(lease) = found.lease(&record) {
                self.look_for_foreigners(&lease, known);
                leases.push(lease);
            }
            cache.insert(folder.lease_at(file), found);
        }
        let mut rows = lock(&self.rows);
        let prefix = folder.lease_at("");
        rows.retain(|name, _| !name.starts_with(&prefix));
        rows.extend(cache);
        Ok(leases)
    }

    async fn record_as_listed(
        &self,
        key: &GroupKey,
        folder: &Folder,
        contents: &Contents,
    ) -> Result<KnownRecord> {
        let known = lock(&self.records).get(key).cloned();
        match known {
            Some(known)
                if known.version.is_same(&contents.record) || known.version == contents.record =>
            {
                Ok(known)
            }
            _ => self.read_record(key, folder).await,
        }
    }

    async fn row_as_listed(
        &self,
        key: &GroupKey,
        folder: &Folder,
        file: &str,
        listed: &Listed,
        checkpoint: Option<&Version>,
    ) -> Result<Option<Found>> {
        let name = folder.lease_at(file);
        let known = lock(&self.rows).get(&name).cloned();
        if let Some(found) = known
            && found.version.is_same(&listed.version)
        {
            let tag = checkpoint.map(Version::bare).unwrap_or_default();
            match &found.foreign {
                Some(foreign) if *foreign != tag => {}
                _ => return Ok(Some(found)),
            }
        }
        self.read_row(key, folder, file).await
    }

    fn is_past(&self, listed: &Listed) -> bool {
        self.runtime.wall().since(listed.modified) > DELETED_KEPT
    }

    /// Warns of a processor that writes while members run.
    fn look_for_foreigners(&self, lease: &Lease, known: &[Lease]) {
        let moved =
            |before: &Lease| before.partition == lease.partition && before.version != lease.version;
        if is_foreign(lease) && known.iter().any(moved) {
            metrics::counter!("aqueduct_object_store_foreign_writes_total").increment(1);
            tracing::warn!(
                place = self.bucket.place(), partition = %lease.partition, owner = ?lease.owner,
                "an event processor writes to this group's blobs: stop one of the two"
            );
        }
    }
}

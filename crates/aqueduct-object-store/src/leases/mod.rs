mod blobs;
mod checkpoints;
mod fields;
mod foreign;
mod found;
mod group;
mod layout;
mod listing;
mod reset;
mod store;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{GroupKey, GroupRecord, Result, Runtime};

use self::checkpoints::CheckpointBlobs;
use self::found::Found;
use self::layout::Folder;
pub(crate) use self::layout::{Layout, Processor};
use crate::bucket::{Bucket, Version};

/// Stores leases, one object each, and a record for each group.
pub(crate) struct ObjectLeases {
    bucket: Bucket,
    layout: Layout,
    runtime: Runtime,
    checkpoints: CheckpointBlobs,
    /// How long an ownership blob of a processor must be unchanged before a member joins.
    watch: Duration,
    /// The objects as last read, by name, so that a listing reads only those that changed.
    rows: Mutex<HashMap<String, Found>>,
    records: Mutex<HashMap<GroupKey, KnownRecord>>,
}

/// A group's record as last read.
#[derive(Clone, Debug, Default)]
struct KnownRecord {
    record: Option<GroupRecord>,
    /// Empty if there is no record.
    version: Version,
}

impl KnownRecord {
    fn replay(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.replay)
    }
}

impl ObjectLeases {
    pub(crate) fn new(
        bucket: Bucket,
        layout: Layout,
        checkpoint_blobs: Duration,
        watch: Duration,
        runtime: &Runtime,
    ) -> Self {
        Self {
            checkpoints: CheckpointBlobs::new(bucket.clone(), checkpoint_blobs, runtime.clone()),
            bucket,
            layout,
            runtime: runtime.clone(),
            watch,
            rows: Mutex::default(),
            records: Mutex::default(),
        }
    }

    /// Reads the group's record.
    async fn read_record(&self, key: &GroupKey, folder: &Folder) -> Result<KnownRecord> {
        let name = folder.record();
        let known = match self.bucket.get(&name).await? {
            None => KnownRecord::default(),
            Some(object) => {
                let record = group::read(key, &object.body)
                    .map_err(|error| error.context(self.bucket.shown(&name)))?;
                KnownRecord {
                    record: Some(record),
                    version: object.version,
                }
            }
        };
        self.remember(key, known.clone());
        Ok(known)
    }

    /// Returns the group's record as last read; reads it if it never was.
    async fn record(&self, key: &GroupKey, folder: &Folder) -> Result<KnownRecord> {
        let known = lock(&self.records).get(key).cloned();
        match known {
            Some(known) => Ok(known),
            None => self.read_record(key, folder).await,
        }
    }

    fn remember(&self, key: &GroupKey, known: KnownRecord) {
        lock(&self.records).insert(key.clone(), known);
    }
}

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{Checkpoint, Error, Instant, Lease, Result, ResumeToken, Runtime};

use super::blobs;
use crate::bucket::{Bucket, Content, Expect, Put, Version};

/// Keeps the checkpoint blobs of Microsoft's layout up with our leases, for the processors that may
/// go on from them.
///
/// A lease is written first, since it alone is fenced by its owner; a blob that could not be written
/// makes a processor repeat events and loses none.
pub(super) struct CheckpointBlobs {
    bucket: Bucket,
    /// The least time between two writes of a blob while its lease is kept.
    every: Duration,
    runtime: Runtime,
    written: Mutex<HashMap<String, Written>>,
}

#[derive(Clone)]
struct Written {
    place: (Checkpoint, Option<ResumeToken>),
    version: Version,
    at: Instant,
}

impl CheckpointBlobs {
    pub(super) fn new(bucket: Bucket, every: Duration, runtime: Runtime) -> Self {
        Self {
            bucket,
            every,
            runtime,
            written: Mutex::default(),
        }
    }

    /// Writes the blob `name` after `now` replaced `before`, if it is due.
    pub(super) async fn follow(&self, name: &str, before: &Lease, now: &Lease) {
        let Some(content) = blobs::checkpoint(now) else {
            self.unset(name, before, now).await;
            return;
        };
        let place = (now.checkpoint, now.resume_token.clone());
        let leaving = now.owner.is_none() || now.owner != before.owner;
        let known = lock(&self.written).get(name).cloned();
        match &known {
            Some(known) if known.place == place => return,
            Some(known) if !leaving && self.runtime.now().since(known.at) < self.every => return,
            // The owner before has written it, unless it crashed: then the next move does.
            None if !leaving && before.checkpoint == now.checkpoint => return,
            _ => {}
        }
        let version = known.map(|known| known.version);
        match self.write(name, content, version).await {
            Ok(Some(version)) if !leaving => {
                let at = self.runtime.now();
                let written = Written { place, version, at };
                lock(&self.written).insert(name.to_owned(), written);
            }
            Ok(Some(_)) => self.forget(name),
            Ok(None) => self.forget(name),
            Err(error) => self.failed(name, &error),
        }
    }

    /// Deletes the blob of a lease that was moved back to a start.
    async fn unset(&self, name: &str, before: &Lease, now: &Lease) {
        let is_start = |lease: &Lease| matches!(lease.checkpoint, Checkpoint::Start(_));
        if is_start(now)
            && !is_start(before)
            && let Err(error) = self.delete(name).await
        {
            self.failed(name, &error);
        }
    }

    fn failed(&self, name: &str, error: &Error) {
        self.forget(name);
        metrics::counter!("aqueduct_object_store_checkpoint_blob_failures_total").increment(1);
        tracing::warn!(
            blob = %self.bucket.shown(name), %error,
            "could not write a checkpoint blob: a processor that goes on from it repeats events"
        );
    }

    /// Writes over the version known, else over what is there; twice, since a write of an earlier
    /// owner may come between. `None` if both lost.
    async fn write(
        &self,
        name: &str,
        content: Content,
        known: Option<Version>,
    ) -> Result<Option<Version>> {
        let mut known = known;
        for _ in 0..2 {
            let version = match known.take() {
                Some(version) => Some(version),
                None => self.bucket.head(name).await?.map(|blob| blob.version),
            };
            let expect = version.as_ref().map_or(Expect::Absent, Expect::Version);
            if let Put::Done(version) = self.bucket.put(name, content.clone(), expect).await? {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        self.forget(name);
        self.bucket.delete(name).await
    }

    fn forget(&self, name: &str) {
        lock(&self.written).remove(name);
    }
}

//! Detects event processors: they and Aqueduct go on from each other's checkpoints, but never run at
//! the same time.

use std::collections::BTreeMap;

use aqueduct_core::sync::lock;
use aqueduct_core::{Error, ErrorKind, OwnerId, Result, Retry};

use super::ObjectLeases;
use super::blobs::{self, Ownership};
use super::layout::Entry;
use crate::bucket::Version;

/// The number of listings during a watch.
const LOOKS: u32 = 8;

/// The versions of ownership blobs, and whether they name a processor.
type Seen = BTreeMap<String, (Version, bool)>;

impl ObjectLeases {
    /// Checks that no processor renews an ownership: every blob that names one must be unchanged for
    /// the time of the watch. Without such blobs this costs one listing for each group, of those
    /// whose records were read.
    pub(super) async fn watch_foreigners(&self, owner: &OwnerId) -> Result<()> {
        if !self.layout.is_processor() || self.watch.is_zero() {
            return Ok(());
        }
        let mut seen = Seen::new();
        let until = self.runtime.now() + self.watch;
        loop {
            let late = self.runtime.now() >= until;
            let (standing, new) = self.look(&mut seen).await?;
            if let (true, Some(blob)) = (late, &new) {
                return Err(self.alive(blob));
            }
            if standing == 0 || late {
                return Ok(());
            }
            if new.is_some() {
                tracing::info!(
                    place = self.bucket.place(), %owner, standing, watch = ?self.watch,
                    "event processors own partitions: watching for renewals before joining"
                );
            }
            self.runtime.sleep(self.watch / LOOKS).await;
        }
    }

    /// Returns how many blobs name a processor, and one of those not seen before.
    async fn look(&self, seen: &mut Seen) -> Result<(usize, Option<String>)> {
        let (mut standing, mut new) = (0, None);
        let keys: Vec<_> = lock(&self.records).keys().cloned().collect();
        for key in keys {
            let folder = self.layout.folder(&key);
            for listed in self.bucket.list(folder.path()).await? {
                let Some(Entry::Lease(file)) = folder.entry(&listed.name) else {
                    continue;
                };
                let name = folder.lease_at(&file);
                match seen.get(&name) {
                    Some((version, foreign)) if version.is_same(&listed.version) => {
                        standing += usize::from(*foreign);
                        continue;
                    }
                    Some((_, true)) => return Err(self.alive(&name)),
                    _ => {}
                }
                let Some(blob) = self.bucket.head(&name).await? else {
                    continue;
                };
                let read = blobs::read_ownership(&blob.metadata);
                let read = read.map_err(|error| error.context(self.bucket.shown(&name)))?;
                let foreign = matches!(read, Ownership::Foreign(Some(_)));
                if foreign {
                    standing += 1;
                    new = Some(name.clone());
                }
                seen.insert(name, (blob.version, foreign));
            }
        }
        Ok((standing, new))
    }

    fn alive(&self, blob: &str) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "{}: an event processor lives and renews {blob}; stop it first, then start again: \
                 Aqueduct goes on from its checkpoints",
                self.bucket.place()
            ),
        )
        .with_retry(Retry::Never)
    }
}

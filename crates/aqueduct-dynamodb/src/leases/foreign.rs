//! KCL and Aqueduct may go on from each other's checkpoints, one after the other: never at once.

use std::collections::BTreeMap;

use aqueduct_core::{Error, ErrorKind, Lease, OwnerId, Result, Retry};

use super::layout::is_lease;
use super::row::Stored;
use super::{DynamoDbLeases, Layout, columns as col};

/// How often a lease is looked at while it is watched.
const LOOKS: u32 = 8;

impl DynamoDbLeases {
    /// Makes sure that no foreign worker renews a lease: each one stands still for the time of the
    /// watch. Where there is none, that is one listing.
    pub(super) async fn watch_foreigners(&self, owner: &OwnerId) -> Result<()> {
        // KCL cannot read a shared table.
        if self.layout == Layout::Shared || self.watch.is_zero() {
            return Ok(());
        }
        let until = self.runtime.now() + self.watch;
        let mut counters: BTreeMap<String, u64> = BTreeMap::new();
        loop {
            let late = self.runtime.now() >= until;
            let mut standing = 0;
            for (lease, worker, counter) in self.foreign_leases().await? {
                match counters.insert(lease.clone(), counter) {
                    Some(before) if before != counter => {
                        return Err(self.alive(&lease, &worker));
                    }
                    // It came while we watched.
                    None if late => return Err(self.alive(&lease, &worker)),
                    _ => standing += 1,
                }
            }
            if standing == 0 || late {
                return Ok(());
            }
            if counters.len() == standing {
                tracing::info!(
                    table = %self.leases.name, %owner, standing, watch = ?self.watch,
                    "leases name workers that are none of ours: watching whether they live"
                );
            }
            self.runtime.sleep(self.watch / LOOKS).await;
        }
    }

    /// Tells of a foreign worker that comes while members run.
    pub(super) fn look_for_foreigners(&self, stored: &Stored, known: &[Lease]) {
        let lease = &stored.lease;
        let (true, Some(worker)) = (stored.foreign, &lease.owner) else {
            return;
        };
        let moved = known
            .iter()
            .any(|known| known.partition == lease.partition && known.counter != lease.counter);
        if moved {
            metrics::counter!("aqueduct_dynamodb_foreign_writes_total").increment(1);
            tracing::warn!(
                table = %self.leases.name, partition = %lease.partition, %worker,
                "a KCL application writes to this group's leases: stop one of the two"
            );
        }
    }

    /// Key, worker and counter of each lease that somebody else wrote last and owns.
    async fn foreign_leases(&self) -> Result<Vec<(String, String, u64)>> {
        let mut found = Vec::new();
        for item in self.leases.scan(None).await? {
            let row = self.leases.row(&item);
            let Some(worker) = row.text(col::CHECKPOINT_OWNER)?.or(row.text(col::OWNER)?) else {
                continue;
            };
            if !is_lease(&item) {
                continue;
            }
            let counter = row.need_number(col::COUNTER)?;
            if row.number(col::OUR_COUNTER)? != Some(counter) {
                let key = row.need_text(col::LEASE_KEY)?;
                found.push((key.to_owned(), worker.to_owned(), counter));
            }
        }
        Ok(found)
    }

    fn alive(&self, lease: &str, worker: &str) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "table {}: worker {worker} of a KCL application lives and renews lease {lease}; \
                 stop the application first, then start again: Aqueduct goes on from its \
                 checkpoints",
                self.leases.name
            ),
        )
        .with_retry(Retry::Never)
    }
}

//! Detects KCL workers: KCL and Aqueduct may continue from each other's checkpoints, but never run at
//! the same time.

use std::collections::BTreeMap;

use aqueduct_core::{Error, ErrorKind, Lease, OwnerId, Result, Retry};

use super::layout::is_lease;
use super::row::Stored;
use super::{DynamoDbLeases, Layout, columns as col};

/// The number of listings during a watch.
const LOOKS: u32 = 8;

impl DynamoDbLeases {
    /// Checks that no foreign worker renews a lease: every foreign lease must be unchanged for the time
    /// of the watch. Without foreign leases, this costs one listing.
    pub(super) async fn watch_foreigners(&self, owner: &OwnerId) -> Result<()> {
        // KCL cannot read a shared table.
        if self.layout == Layout::Shared || self.watch.is_zero() {
            return Ok(());
        }
        let until = self.runtime.now() + self.watch;
        let mut told = false;
        let mut counters: BTreeMap<String, u64> = BTreeMap::new();
        loop {
            let late = self.runtime.now() >= until;
            let mut standing = 0;
            for (lease, worker, counter) in self.foreign_leases().await? {
                match counters.insert(lease.clone(), counter) {
                    Some(before) if before != counter => {
                        return Err(self.alive(&lease, &worker));
                    }
                    // A lease that appears during the watch has a live worker.
                    None if late => return Err(self.alive(&lease, &worker)),
                    _ => standing += 1,
                }
            }
            if standing == 0 || late {
                return Ok(());
            }
            if !std::mem::replace(&mut told, true) {
                // A stopped KCL worker keeps its name in its leases, so every take-over waits: a
                // silent start would look stuck.
                tracing::warn!(
                    table = %self.leases.name, %owner, standing, watch = ?self.watch,
                    "leases name workers of a KCL application; watching whether one renews before \
                     joining (stopped workers keep their name there)"
                );
            }
            self.runtime.sleep(self.watch / LOOKS).await;
        }
    }

    /// Warns of a foreign worker that writes while members run.
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

    /// Returns key, worker and counter of each lease whose owner and last writer is foreign.
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

mod columns;
mod foreign;
mod group;
mod kcl_checkpoint;
mod layout;
mod reset;
mod row;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aqueduct_core::{
    Checkpoint, Error, ErrorKind, GroupKey, GroupRecord, Lease, PartitionId, ReadFrom, Result,
    Retry, Runtime, Timestamp,
};
use aws_sdk_dynamodb::types::ReturnValue;

pub(crate) use self::columns::LEASE_KEY;
use self::kcl_checkpoint::Meaning;
use self::layout::Place;
pub(crate) use self::layout::{Layout, escape};
use self::row::Stored;
use crate::backend::STATE_KEY;
use crate::config::Config;
use crate::expression::Expression;
use crate::item::{Item, text};
use crate::table::{Table, Written};

/// Stores leases in a table of KCL's format, and group records in the state table.
pub(crate) struct DynamoDbLeases {
    leases: Table,
    state: Table,
    layout: Layout,
    watch: Duration,
    at_timestamp: Option<Timestamp>,
    runtime: Runtime,
    /// The records as last read, to resolve KCL's `LATEST`.
    records: Mutex<BTreeMap<GroupKey, GroupRecord>>,
}

impl DynamoDbLeases {
    /// # Errors
    /// `Conflict` if the table is kept in another layout.
    pub(crate) async fn open(
        leases: Table,
        state: Table,
        config: &Config,
        runtime: &Runtime,
    ) -> Result<Self> {
        let store = Self {
            leases,
            state,
            layout: config.layout.clone(),
            watch: config.kcl_watch,
            at_timestamp: config.kcl_at_timestamp,
            runtime: runtime.clone(),
            records: Mutex::default(),
        };
        store.settle_layout().await?;
        Ok(store)
    }

    /// Stores the table's layout, or compares it with the stored one.
    async fn settle_layout(&self) -> Result<()> {
        const LAYOUT: &str = "layout";
        let key = format!("layout/{}", self.leases.name);
        let mut stored = self.state.get(&key).await?;
        if stored.is_none() {
            if self.layout == Layout::Shared {
                self.refuse_sharing_with_kcl().await?;
            }
            let item = Item::from([
                (STATE_KEY.to_owned(), text(key.as_str())),
                (LAYOUT.to_owned(), text(self.layout.as_str())),
            ]);
            let mut condition = Expression::default();
            let missing = condition.missing(STATE_KEY);
            condition.expect(missing);
            if let Written::Refused(found) = self.state.put(item, condition).await? {
                stored = found;
            }
        }
        let Some(stored) = stored else {
            return Ok(());
        };
        let kept = self.state.row(&stored).need_text(LAYOUT)?;
        if kept == self.layout.as_str() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "table {} is kept in layout \"{kept}\", and layout = \"{}\" is configured: name \
                 another table, or change the layout; a table changes its layout once its leases \
                 and the row {key} of table {} are deleted",
                self.leases.name,
                self.layout.as_str(),
                self.state.name
            ),
        )
        .with_retry(Retry::Never))
    }

    /// Refuses the shared layout on a KCL table: KCL would take the rows for shards.
    async fn refuse_sharing_with_kcl(&self) -> Result<()> {
        let (items, _) = self.leases.scan_page(None, None).await?;
        if items.iter().all(|item| item.contains_key(columns::GROUP)) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "table {} belongs to a KCL application, so it cannot be shared: layout = \"kcl\" \
                 continues with its leases",
                self.leases.name
            ),
        )
        .with_retry(Retry::Never))
    }

    /// Returns the lease of a row; `None` if the row belongs to another group or is not a lease.
    async fn stored(&self, place: &Place, item: &Item) -> Result<Option<Stored>> {
        let row = self.leases.row(item);
        let Some(partition) = place.partition(row)? else {
            return Ok(None);
        };
        let mut stored = Stored::read(row, partition)?;
        stored.lease.checkpoint = match stored.meaning {
            Meaning::Place(checkpoint) => checkpoint,
            Meaning::Latest => Checkpoint::Start(ReadFrom::Time(self.began(&place.key).await?)),
            Meaning::AtTimestamp => match self.at_timestamp {
                Some(time) => Checkpoint::Start(ReadFrom::Time(time)),
                None => {
                    tracing::warn!(
                        partition = %stored.lease.partition,
                        "KCL's start time is not in the table and kcl_at_timestamp is not set: reading \
                         from the oldest event"
                    );
                    Checkpoint::Start(ReadFrom::Earliest)
                }
            },
        };
        Ok(Some(stored))
    }

    /// Returns the lease of a row that must be one.
    async fn lease(&self, place: &Place, item: &Item) -> Result<Lease> {
        match self.stored(place, item).await? {
            Some(stored) => Ok(stored.lease),
            None => {
                let key = self.leases.row(item).text(LEASE_KEY)?.unwrap_or("?");
                let message = format!("table {}: row {key} is not a lease", self.leases.name);
                Err(Error::new(ErrorKind::Conflict, message).with_retry(Retry::Never))
            }
        }
    }

    async fn find(&self, place: &Place, partition: &PartitionId) -> Result<Option<Lease>> {
        match self.leases.get(&place.lease_key(partition)).await? {
            Some(item) => self.lease(place, &item).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns when the group began, which replaces KCL's `LATEST`: events stored since are read.
    async fn began(&self, key: &GroupKey) -> Result<Timestamp> {
        if let Some(record) = self.known_record(key) {
            return Ok(record.start.at);
        }
        let record = self.read_record(key).await?;
        Ok(record.map_or_else(|| self.runtime.wall(), |record| record.start.at))
    }

    /// Creates a lease if it is missing, and returns the stored one.
    async fn create_lease(&self, place: &Place, lease: &Lease) -> Result<Lease> {
        let replay = self.known_record(&place.key).map_or(0, |it| it.replay);
        let key = place.lease_key(&lease.partition);
        let write = row::creation(place, lease, replay, self.at_timestamp);
        let written = self.leases.update(&key, write, ReturnValue::AllNew).await?;
        let (Written::Done(item) | Written::Refused(item)) = written;
        match item {
            Some(item) => self.lease(place, &item).await,
            None => Err(Error::new(
                ErrorKind::Unavailable,
                format!("lease {key} was deleted while it was being created"),
            )),
        }
    }

    fn known_record(&self, key: &GroupKey) -> Option<GroupRecord> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(key).cloned()
    }

    fn remember(&self, key: &GroupKey, record: &GroupRecord) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.insert(key.clone(), record.clone());
    }
}

mod rows;

use std::collections::BTreeMap;
use std::sync::Mutex;

use aqueduct_core::lease_rows::{LeaseRows, RowWrite, rules};
use aqueduct_core::sync::lock;
use aqueduct_core::{GroupKey, GroupRecord, Lease, OwnerId, PartitionId, Result};
use async_trait::async_trait;
use rusqlite::Connection;

pub(crate) use self::rows::{damaged, parse, parse_optional};
use crate::error::SqlResultExt as _;
use crate::store::SqliteStore;

/// Leases and the records of groups, in the file.
pub(crate) struct SqliteLeases {
    store: SqliteStore,
    /// The process of each member as of the last listing: `is_dead` must not wait for SQL.
    members: Mutex<BTreeMap<String, String>>,
}

impl SqliteLeases {
    pub(crate) fn new(store: SqliteStore) -> Self {
        Self {
            store,
            members: Mutex::default(),
        }
    }

    fn remember(&self, members: BTreeMap<String, String>) {
        *lock(&self.members) = members;
    }

    /// Runs `write` if the stored row is still `expected`.
    async fn write_over(
        &self,
        key: &GroupKey,
        partition: &PartitionId,
        expected: Option<&Lease>,
        write: impl FnOnce(&Connection, &GroupKey, Option<Lease>) -> Result<Lease> + Send + 'static,
    ) -> Result<RowWrite> {
        let (key, partition, expected) = (key.clone(), partition.clone(), expected.cloned());
        self.store
            .0
            .writer
            .run(false, move |tx| {
                let stored = rows::find(tx, &key, &partition)?;
                let unchanged = match (&stored, &expected) {
                    (None, None) => true,
                    (Some(stored), Some(expected)) => rules::is_unchanged(stored, expected),
                    _ => false,
                };
                match unchanged {
                    true => write(tx, &key, stored).map(RowWrite::Applied),
                    false => Ok(RowWrite::Changed(stored)),
                }
            })
            .await
    }
}

#[async_trait]
impl LeaseRows for SqliteLeases {
    async fn list(&self, key: &GroupKey, _known: &[Lease]) -> Result<Vec<Lease>> {
        let key = key.clone();
        let (leases, members) = self
            .store
            .read(move |connection| Ok((rows::list(connection, &key)?, members(connection)?)))
            .await?;
        self.remember(members);
        Ok(leases)
    }

    async fn get(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        let (key, partition) = (key.clone(), partition.clone());
        let (lease, members) = self
            .store
            .read(move |connection| {
                Ok((
                    rows::find(connection, &key, &partition)?,
                    members(connection)?,
                ))
            })
            .await?;
        self.remember(members);
        Ok(lease)
    }

    async fn put(&self, key: &GroupKey, replaces: Option<&Lease>, row: Lease) -> Result<RowWrite> {
        let partition = row.partition.clone();
        self.write_over(key, &partition, replaces, move |tx, key, stored| {
            rows::put(tx, key, stored.as_ref(), row)
        })
        .await
    }

    async fn delete(&self, key: &GroupKey, row: &Lease) -> Result<RowWrite> {
        let deleted = row.clone();
        self.write_over(key, &row.partition, Some(row), move |tx, key, stored| {
            rows::delete(tx, key, &deleted.partition)?;
            Ok(stored.unwrap_or(deleted))
        })
        .await
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        let key = key.clone();
        self.store
            .read(move |connection| rows::find_group(connection, &key))
            .await
    }

    async fn put_group(
        &self,
        key: &GroupKey,
        replaces: Option<u64>,
        record: GroupRecord,
    ) -> Result<Option<GroupRecord>> {
        let key = key.clone();
        self.store
            .0
            .writer
            .run(false, move |tx| {
                match (replaces, rows::find_group(tx, &key)?) {
                    (None, None) => {}
                    (Some(replay), Some(stored)) if stored.replay == replay => {
                        delete_leases(tx, &key)?;
                    }
                    (_, stored) => return Ok(stored),
                }
                rows::put_group(tx, &key, &record)?;
                Ok(Some(record))
            })
            .await
    }

    async fn join(&self, owner: &OwnerId) -> Result<()> {
        let owner = owner.clone();
        let now = self.store.0.runtime.wall().as_millis();
        let store = self.store.clone();
        self.store
            .0
            .writer
            .run(false, move |tx| {
                let process = &store.0.process;
                tx.execute(
                    "INSERT OR REPLACE INTO aqueduct_member (owner, process, joined)
                     VALUES (?1, ?2, ?3)",
                    (owner.as_str(), process.name(), now),
                )
                .sql("announce a member")?;
                for (owner, name) in members(tx)? {
                    if process.is_dead(&name) {
                        forget(tx, &owner)?;
                    }
                }
                Ok(())
            })
            .await?;
        // After the commit: if this process dies before it, its members are announced again.
        sweep(&self.store).await;
        Ok(())
    }

    async fn leave(&self, owner: &OwnerId) -> Result<()> {
        let owner = owner.clone();
        self.store
            .0
            .writer
            .run(false, move |tx| forget(tx, owner.as_str()).map(drop))
            .await
    }

    fn is_dead(&self, owner: &OwnerId) -> bool {
        let members = lock(&self.members);
        members
            .get(owner.as_str())
            .is_some_and(|process| self.store.0.process.is_dead(process))
    }
}

pub(crate) fn delete_leases(connection: &Connection, key: &GroupKey) -> Result<()> {
    connection
        .execute(
            "DELETE FROM aqueduct_lease WHERE name = ?1 AND stream = ?2",
            [key.group.as_str(), key.stream.as_str()],
        )
        .map(drop)
        .sql("delete a group's leases")
}

pub(crate) fn list(connection: &Connection, key: &GroupKey) -> Result<Vec<Lease>> {
    rows::list(connection, key)
}

pub(crate) fn find_group(connection: &Connection, key: &GroupKey) -> Result<Option<GroupRecord>> {
    rows::find_group(connection, key)
}

/// Removes the lock files of dead processes that no member names any more.
pub(crate) async fn sweep(store: &SqliteStore) {
    let process = &store.0.process;
    // Before the members are read, so that a process found dead cannot have joined in between.
    let dead = process.dead();
    if let Ok(members) = store.read(members).await {
        let named = |name: &String| members.values().any(|named| named == name);
        for name in dead.iter().filter(|name| !named(name)) {
            process.remove(name);
        }
    }
}

fn members(connection: &Connection) -> Result<BTreeMap<String, String>> {
    connection
        .prepare_cached("SELECT owner, process FROM aqueduct_member")
        .and_then(|mut select| {
            select
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .sql("list the members")
}

/// Deletes a member, unless a lease still names it: others must be able to tell that it is dead.
fn forget(connection: &Connection, owner: &str) -> Result<bool> {
    connection
        .execute(
            "DELETE FROM aqueduct_member WHERE owner = ?1
             AND NOT EXISTS (SELECT 1 FROM aqueduct_lease l WHERE l.owner = ?1)",
            [owner],
        )
        .map(|deleted| deleted > 0)
        .sql("forget a member")
}

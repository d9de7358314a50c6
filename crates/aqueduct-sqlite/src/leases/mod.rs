mod rows;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aqueduct_core::{
    Error, ErrorKind, GroupKey, GroupRecord, Lease, LeaseStore, OwnerId, PartitionId, Result, Swap,
};
use async_trait::async_trait;
use rusqlite::Connection;

pub(crate) use self::rows::{damaged, parse, parse_optional};
use crate::error::SqlResultExt as _;
use crate::store::SqliteStore;

/// Leases and the records of groups, in the file.
pub(crate) struct SqliteLeases {
    store: SqliteStore,
    /// Which process a member runs in, as of the last listing: `is_dead` may not wait for SQL.
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
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// Writes `next` where `current` still stands.
    async fn replace(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        let (key, current) = (key.clone(), current.clone());
        self.store
            .0
            .writer
            .run(false, move |tx| {
                let stored = rows::find(tx, &key, &current.partition)?;
                let Some(stored) = stored.filter(|row| current.is_same_row(row)) else {
                    return Ok(Swap::Lost(rows::find(tx, &key, &current.partition)?));
                };
                let mut next = next;
                let came_meanwhile = stored.wanted_by != current.wanted_by;
                if came_meanwhile && next.owner == current.owner {
                    next.wanted_by.clone_from(&stored.wanted_by);
                }
                rows::put(tx, &key, Some(&stored), next).map(Swap::Swapped)
            })
            .await
    }
}

#[async_trait]
impl LeaseStore for SqliteLeases {
    async fn list(&self, key: &GroupKey, _known: &[Lease]) -> Result<Vec<Lease>> {
        let key = key.clone();
        let (leases, members) = self
            .store
            .read(move |connection| Ok((rows::list(connection, &key)?, members(connection)?)))
            .await?;
        self.remember(members);
        Ok(leases)
    }

    async fn read(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
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

    async fn create(&self, key: &GroupKey, lease: Lease) -> Result<Lease> {
        let key = key.clone();
        self.store
            .0
            .writer
            .run(false, move |tx| {
                match rows::find(tx, &key, &lease.partition)? {
                    Some(stored) => Ok(stored),
                    None => rows::put(tx, &key, None, lease),
                }
            })
            .await
    }

    async fn swap(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        self.replace(key, current, next).await
    }

    async fn commit(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        self.replace(key, current, next).await
    }

    async fn request(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        let (key, lease, by) = (key.clone(), lease.clone(), by.clone());
        self.store
            .0
            .writer
            .run(false, move |tx| {
                let Some(stored) = rows::find(tx, &key, &lease.partition)? else {
                    return Ok(None);
                };
                if stored.generation != lease.generation || stored.wanted_by.is_some() {
                    return Ok(Some(stored));
                }
                let mut wanted = stored.clone();
                wanted.wanted_by = Some(by);
                rows::put(tx, &key, Some(&stored), wanted).map(Some)
            })
            .await
    }

    async fn delete(&self, key: &GroupKey, lease: &Lease) -> Result<Swap> {
        let (key, lease) = (key.clone(), lease.clone());
        self.store
            .0
            .writer
            .run(false, move |tx| {
                let stored = match rows::find(tx, &key, &lease.partition)? {
                    Some(stored) if lease.is_same_row(&stored) => stored,
                    other => return Ok(Swap::Lost(other)),
                };
                tx.execute(
                    "DELETE FROM aqueduct_lease
                     WHERE name = ?1 AND stream = ?2 AND partition = ?3",
                    [
                        key.group.as_str(),
                        key.stream.as_str(),
                        lease.partition.as_str(),
                    ],
                )
                .sql("delete a lease")?;
                Ok(Swap::Swapped(stored))
            })
            .await
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        let key = key.clone();
        self.store
            .read(move |connection| rows::find_group(connection, &key))
            .await
    }

    async fn create_group(&self, key: &GroupKey, record: GroupRecord) -> Result<GroupRecord> {
        let key = key.clone();
        self.store
            .0
            .writer
            .run(false, move |tx| {
                if let Some(stored) = rows::find_group(tx, &key)? {
                    return Ok(stored);
                }
                rows::put_group(tx, &key, &record)?;
                Ok(record)
            })
            .await
    }

    async fn reset_group(
        &self,
        key: &GroupKey,
        expected_replay: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord> {
        let key = key.clone();
        self.store
            .0
            .writer
            .run(false, move |tx| {
                match rows::find_group(tx, &key)? {
                    Some(stored) if stored.replay == expected_replay => {}
                    Some(stored) => return Ok(stored),
                    None => return Err(no_group(&key)),
                }
                delete_leases(tx, &key)?;
                rows::put_group(tx, &key, &record)?;
                Ok(record)
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
        // Not before the commit: should this process die first, its members are named again.
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
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Removes what dead processes left of themselves, but for those that a member still names.
pub(crate) async fn sweep(store: &SqliteStore) {
    let process = &store.0.process;
    // Looked for before the members are read, so that none of these joined in between.
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

/// Forgets a member, unless a lease still names it: others must be able to tell that it is dead.
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

fn no_group(key: &GroupKey) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("{key} has not begun: there is nothing to reset"),
    )
}

use aqueduct_core::{
    Admin, Checkpoint, Error, ErrorKind, GroupKey, GroupName, PartitionLag, PartitionState,
    ReadFrom, Result, StreamDescription, StreamName, StreamSpec, Timestamp,
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Transaction};

use crate::config::StreamOptions;
use crate::error::SqlResultExt as _;
use crate::leases;
use crate::store::SqliteStore;
use crate::streams::{
    PartitionRow, add_partition, create_stream, from_nanos, need_stream, partitions_of, sequence,
    split,
};

/// Creates, describes, reshards and deletes one stream of the file.
pub(crate) struct SqliteAdmin {
    store: SqliteStore,
    stream: StreamName,
    options: StreamOptions,
}

impl SqliteAdmin {
    pub(crate) fn new(store: SqliteStore, stream: StreamName, options: StreamOptions) -> Self {
        Self {
            store,
            stream,
            options,
        }
    }
}

#[async_trait]
impl Admin for SqliteAdmin {
    async fn create(&self, spec: &StreamSpec) -> Result<bool> {
        let partitions = spec.partitions.unwrap_or(self.options.partitions);
        if !(1..=1024).contains(&partitions) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("partitions = {partitions}: from 1 to 1024"),
            ));
        }
        let options = StreamOptions {
            partitions,
            retention: spec.retention.or(self.options.retention),
            ..self.options.clone()
        };
        let (stream, now) = (self.stream.clone(), self.store.0.runtime.wall());
        self.store
            .transaction(move |tx| create_stream(tx, &stream, &options, now))
            .await
    }

    async fn describe(&self) -> Result<StreamDescription> {
        let stream = self.stream.clone();
        self.store
            .read(move |connection| {
                let row = need_stream(connection, &stream)?;
                let partitions = partitions_of(connection, row.id)?;
                let listed = partitions.iter().map(PartitionRow::to_partition).collect();
                let mut description = StreamDescription::new(stream, listed);
                description.retention = row.retention;
                description.created = Some(row.created);
                Ok(description)
            })
            .await
    }

    async fn lag(&self, group: &GroupName) -> Result<Vec<PartitionLag>> {
        let key = GroupKey {
            group: group.clone(),
            stream: self.stream.clone(),
        };
        let now = self.store.0.runtime.wall();
        self.store
            .read(move |connection| lag(connection, &key, now))
            .await
    }

    async fn reshard(&self, partitions: u32) -> Result<()> {
        if !(1..=1024).contains(&partitions) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("partitions = {partitions}: from 1 to 1024"),
            ));
        }
        let (stream, now) = (self.stream.clone(), self.store.0.runtime.wall());
        self.store
            .transaction(move |tx| reshard(tx, &stream, partitions, now))
            .await
    }

    async fn delete(&self) -> Result<()> {
        let stream = self.stream.clone();
        self.store
            .transaction(move |tx| {
                let row = need_stream(tx, &stream)?;
                // Its events may be many: retention removes the orphaned partitions in small steps.
                for sql in [
                    "DELETE FROM aqueduct_stream WHERE name = ?1",
                    "DELETE FROM aqueduct_lease WHERE stream = ?1",
                    "DELETE FROM aqueduct_group WHERE stream = ?1",
                    "DELETE FROM aqueduct_held_key WHERE stream = ?1",
                ] {
                    tx.execute(sql, [stream.as_str()]).sql("delete a stream")?;
                }
                // Closed, so that readers see the end of the stream at once.
                tx.execute(
                    "UPDATE aqueduct_partition SET closed = coalesce(closed, 0) WHERE stream = ?1",
                    [row.id],
                )
                .map(drop)
                .sql("delete a stream")
            })
            .await
    }
}

/// Closes every open partition and creates new ones that share the hash space evenly. The parents of
/// each are the closed partitions whose ranges it overlaps.
fn reshard(tx: &Transaction<'_>, stream: &StreamName, count: u32, now: Timestamp) -> Result<()> {
    let row = need_stream(tx, stream)?;
    let mut open = partitions_of(tx, row.id)?;
    open.retain(|partition| !partition.closed);
    if open.len() == count as usize {
        return Ok(());
    }
    let first: i64 = tx
        .query_row(
            "UPDATE aqueduct_stream SET layout = layout + 1, next_number = next_number + ?2
             WHERE id = ?1 RETURNING next_number - ?2",
            (row.id, count),
            |row| row.get(0),
        )
        .sql("reshard a stream")?;
    let mut children: Vec<Vec<i64>> = vec![Vec::new(); open.len()];
    for (number, range) in (first..).zip(split(count)) {
        let mut parents = Vec::new();
        for (at, partition) in open.iter().enumerate() {
            if partition.range.0 <= range.1 && range.0 <= partition.range.1 {
                parents.push(partition.number);
                children[at].push(number);
            }
        }
        add_partition(tx, row.id, number, range, &parents)?;
    }
    for (partition, children) in open.iter().zip(children) {
        tx.execute(
            "UPDATE aqueduct_partition SET closed = ?2, children = ?3 WHERE id = ?1",
            (
                partition.id,
                now.as_millis(),
                serde_json::json!(children).to_string(),
            ),
        )
        .sql("close a partition")?;
    }
    Ok(())
}

fn lag(connection: &Connection, key: &GroupKey, now: Timestamp) -> Result<Vec<PartitionLag>> {
    let row = need_stream(connection, &key.stream)?;
    let leases = leases::list(connection, key)?;
    let record = leases::find_group(connection, key)?;
    let mut lags = Vec::new();
    for partition in partitions_of(connection, row.id)? {
        let id = partition.name();
        let lease = leases.iter().find(|lease| lease.partition == id);
        let started = record.as_ref().and_then(|record| {
            let named = record.start.partitions.iter();
            named
                .clone()
                .find(|(named, _)| *named == id)
                .map(|(_, checkpoint)| *checkpoint)
        });
        // Once the group has begun, a closed partition without a lease has been read to its end.
        let closed = partition.to_partition().state == PartitionState::Closed;
        let settled = match (lease, started) {
            (Some(lease), _) => lease.checkpoint,
            (None, _) if closed && !leases.is_empty() => Checkpoint::End,
            (None, Some(started)) => started,
            (None, None) => Checkpoint::Start(ReadFrom::Earliest),
        };
        let next = match settled {
            Checkpoint::End => partition.next,
            Checkpoint::At(position) => sequence(position).saturating_add(1),
            Checkpoint::Start(ReadFrom::At(position)) => sequence(position),
            Checkpoint::Start(ReadFrom::After(position)) => sequence(position).saturating_add(1),
            Checkpoint::Start(ReadFrom::Earliest) => partition.first,
            Checkpoint::Start(ReadFrom::Time(time)) => since(connection, &partition, time)?,
        };
        let next = next.clamp(partition.first, partition.next);
        lags.push(PartitionLag {
            events: (partition.next - next) as u64,
            oldest: age(connection, partition.id, next, now)?,
            partition: id,
        });
    }
    Ok(lags)
}

fn since(connection: &Connection, partition: &PartitionRow, time: Timestamp) -> Result<i64> {
    crate::source::first_since(connection, partition.id, time)
        .map(|first| first.unwrap_or(partition.next))
}

fn age(
    connection: &Connection,
    partition: i64,
    next: i64,
    now: Timestamp,
) -> Result<Option<std::time::Duration>> {
    let stored_at: Option<i64> = connection
        .prepare_cached(
            "SELECT stored_at FROM aqueduct_segment WHERE partition = ?1 AND last >= ?2
             ORDER BY last LIMIT 1",
        )
        .and_then(|mut select| {
            select
                .query_row([partition, next], |row| row.get(0))
                .optional()
        })
        .sql("find the oldest event")?;
    Ok(stored_at.map(|stored_at| now.since(from_nanos(stored_at))))
}

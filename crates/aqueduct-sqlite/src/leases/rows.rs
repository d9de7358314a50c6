use aqueduct_core::{
    Checkpoint, GroupKey, GroupRecord, HashRange, Lease, OwnerId, PartitionId, ResolvedStart,
    Result, ResumeToken, SmallStr, StoredAttempts, StreamId,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::error::SqlResultExt as _;

const COLUMNS: &str = "partition, version, owner, generation, counter, wanted_by, watermark, \
     handed_out, attempts_position, attempts_count, attempts_started, unclean, parents, children, \
     range, nonce, resume_token, caught_up_at";

pub(super) fn list(connection: &Connection, key: &GroupKey) -> Result<Vec<Lease>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM aqueduct_lease WHERE name = ?1 AND stream = ?2 \
             ORDER BY length(partition), partition"
        ))
        .and_then(|mut select| {
            select
                .query_map([key.group.as_str(), key.stream.as_str()], read_lease)?
                .collect()
        })
        .sql("list the leases")
}

pub(super) fn find(
    connection: &Connection,
    key: &GroupKey,
    partition: &PartitionId,
) -> Result<Option<Lease>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM aqueduct_lease \
             WHERE name = ?1 AND stream = ?2 AND partition = ?3"
        ))
        .and_then(|mut select| {
            select
                .query_row(
                    [key.group.as_str(), key.stream.as_str(), partition.as_str()],
                    read_lease,
                )
                .optional()
        })
        .sql("read a lease")
}

/// Writes the whole row, one version above `before`, and returns it as stored.
pub(super) fn put(
    connection: &Connection,
    key: &GroupKey,
    before: Option<&Lease>,
    mut lease: Lease,
) -> Result<Lease> {
    let version = before.map_or(0, |row| row.version.parse().unwrap_or(0)) + 1_i64;
    let attempts = lease.attempts;
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO aqueduct_lease (name, stream, {COLUMNS}) VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
             ?19, ?20)"
        ))
        .and_then(|mut insert| {
            insert.execute(rusqlite::params![
                key.group.as_str(),
                key.stream.as_str(),
                lease.partition.as_str(),
                version,
                lease.owner.as_ref().map(OwnerId::as_str),
                lease.generation as i64,
                lease.counter as i64,
                lease.wanted_by.as_ref().map(OwnerId::as_str),
                lease.checkpoint.to_string(),
                lease.handed_out.map(|position| position.to_string()),
                attempts.map(|stored| stored.position.to_string()),
                attempts.map_or(0, |stored| stored.count),
                attempts.is_some_and(|stored| stored.started),
                lease.unclean,
                write_names(&lease.parents),
                write_names(&lease.children),
                lease
                    .range
                    .map(|range| format!("{:032x}-{:032x}", range.first, range.last)),
                lease.nonce as i64,
                lease.resume_token.as_ref().map(ResumeToken::as_str),
                lease.caught_up_at.map(|time| time.to_string()),
            ])
        })
        .sql("write a lease")?;
    lease.version = SmallStr::from(version.to_string());
    Ok(lease)
}

pub(super) fn delete(
    connection: &Connection,
    key: &GroupKey,
    partition: &PartitionId,
) -> Result<()> {
    connection
        .execute(
            "DELETE FROM aqueduct_lease WHERE name = ?1 AND stream = ?2 AND partition = ?3",
            [key.group.as_str(), key.stream.as_str(), partition.as_str()],
        )
        .map(drop)
        .sql("delete a lease")
}

pub(super) fn find_group(connection: &Connection, key: &GroupKey) -> Result<Option<GroupRecord>> {
    connection
        .prepare_cached(
            "SELECT started_at, start, replay, created, stream_identity FROM aqueduct_group \
             WHERE name = ?1 AND stream = ?2",
        )
        .and_then(|mut select| {
            select
                .query_row([key.group.as_str(), key.stream.as_str()], |row| {
                    let start = ResolvedStart {
                        at: parse(row, 0)?,
                        partitions: read_start(row, 1)?,
                    };
                    let replay = row.get::<_, i64>(2)? as u64;
                    let stream = row.get::<_, Option<String>>(4)?.map(StreamId::new);
                    Ok(GroupRecord::new(start, replay, parse(row, 3)?).with_stream_id(stream))
                })
                .optional()
        })
        .sql("read a group's record")
}

pub(super) fn put_group(
    connection: &Connection,
    key: &GroupKey,
    record: &GroupRecord,
) -> Result<()> {
    let start: Vec<(&str, String)> = record
        .start
        .partitions
        .iter()
        .map(|(partition, checkpoint)| (partition.as_str(), checkpoint.to_string()))
        .collect();
    connection
        .execute(
            "INSERT OR REPLACE INTO aqueduct_group
             (name, stream, started_at, start, replay, created, stream_identity)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                key.group.as_str(),
                key.stream.as_str(),
                record.start.at.to_string(),
                serde_json::json!(start).to_string(),
                record.replay as i64,
                record.created.to_string(),
                record.stream_id.as_ref().map(StreamId::as_str),
            ),
        )
        .map(drop)
        .sql("write a group's record")
}

fn read_lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    let partition: String = row.get(0)?;
    let mut lease = Lease::new(PartitionId::new(partition), parse(row, 6)?);
    lease.version = SmallStr::from(row.get::<_, i64>(1)?.to_string());
    lease.owner = row.get::<_, Option<String>>(2)?.map(OwnerId::new);
    lease.generation = row.get::<_, i64>(3)? as u64;
    lease.counter = row.get::<_, i64>(4)? as u64;
    lease.wanted_by = row.get::<_, Option<String>>(5)?.map(OwnerId::new);
    lease.handed_out = parse_optional(row, 7)?;
    lease.attempts = match parse_optional(row, 8)? {
        None => None,
        Some(position) => Some(StoredAttempts {
            position,
            count: row.get(9)?,
            started: row.get(10)?,
        }),
    };
    lease.unclean = row.get(11)?;
    lease.parents = read_names(row, 12)?;
    lease.children = read_names(row, 13)?;
    lease.range = match row.get_ref(14)?.as_str_or_null()? {
        None => None,
        Some(text) => Some(parse_range(text).ok_or_else(|| damaged(14, "a range of hashes"))?),
    };
    lease.nonce = row.get::<_, i64>(15)? as u64;
    lease.resume_token = row.get::<_, Option<String>>(16)?.map(ResumeToken::new);
    lease.caught_up_at = parse_optional(row, 17)?;
    Ok(lease)
}

fn read_start(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<(PartitionId, Checkpoint)>> {
    let stored: Vec<(String, String)> =
        serde_json::from_str(row.get_ref(at)?.as_str()?).map_err(|error| damaged(at, error))?;
    stored
        .into_iter()
        .map(|(partition, checkpoint)| {
            let checkpoint = checkpoint.parse().map_err(|error| damaged(at, error))?;
            Ok((PartitionId::new(partition), checkpoint))
        })
        .collect()
}

fn write_names(names: &[PartitionId]) -> String {
    let names: Vec<&str> = names.iter().map(PartitionId::as_str).collect();
    serde_json::json!(names).to_string()
}

fn read_names(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<PartitionId>> {
    let names: Vec<String> =
        serde_json::from_str(row.get_ref(at)?.as_str()?).map_err(|error| damaged(at, error))?;
    Ok(names.into_iter().map(PartitionId::new).collect())
}

fn parse_range(text: &str) -> Option<HashRange> {
    let (first, last) = text.split_once('-')?;
    Some(HashRange {
        first: u128::from_str_radix(first, 16).ok()?,
        last: u128::from_str_radix(last, 16).ok()?,
    })
}

/// Text of something that has a text form.
pub(crate) fn parse<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err = aqueduct_core::Error>,
{
    row.get_ref(at)?
        .as_str()?
        .parse()
        .map_err(|error| damaged(at, error))
}

pub(crate) fn parse_optional<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>>
where
    T: std::str::FromStr<Err = aqueduct_core::Error>,
{
    row.get_ref(at)?
        .as_str_or_null()?
        .map(str::parse)
        .transpose()
        .map_err(|error| damaged(at, error))
}

pub(crate) fn damaged(
    at: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into())
}

use std::time::Duration;

use aqueduct_core::{
    Error, ErrorKind, HashRange, Partition, PartitionId, PartitionState, Position, Result,
    StreamName, Timestamp,
};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use crate::config::StreamOptions;
use crate::error::SqlResultExt as _;
use crate::outbox;

/// A row of `aqueduct_stream`.
#[derive(Clone, Debug)]
pub(crate) struct StreamRow {
    pub(crate) id: i64,
    pub(crate) created: Timestamp,
    /// Random, given when the stream was created.
    pub(crate) identity: Option<String>,
    pub(crate) layout: i64,
    pub(crate) retention: Option<Duration>,
    pub(crate) max_event_bytes: usize,
}

/// A row of `aqueduct_partition`.
#[derive(Clone, Debug)]
pub(crate) struct PartitionRow {
    pub(crate) id: i64,
    pub(crate) number: i64,
    pub(crate) range: (u32, u32),
    pub(crate) parents: Vec<i64>,
    pub(crate) children: Vec<i64>,
    pub(crate) closed: bool,
    pub(crate) first: i64,
    pub(crate) next: i64,
}

pub(crate) fn find_stream(connection: &Connection, name: &str) -> Result<Option<StreamRow>> {
    connection
        .prepare_cached(
            "SELECT id, created, layout, retention, max_event_bytes, identity
             FROM aqueduct_stream WHERE name = ?1",
        )
        .and_then(|mut select| {
            select
                .query_row([name], |row| {
                    Ok(StreamRow {
                        id: row.get(0)?,
                        created: Timestamp::from_millis(row.get(1)?),
                        layout: row.get(2)?,
                        retention: row
                            .get::<_, Option<i64>>(3)?
                            .map(|millis| Duration::from_millis(millis.max(0) as u64)),
                        max_event_bytes: row.get::<_, i64>(4)?.max(0) as usize,
                        identity: row.get(5)?,
                    })
                })
                .optional()
        })
        .sql("find a stream")
}

pub(crate) fn need_stream(connection: &Connection, name: &StreamName) -> Result<StreamRow> {
    find_stream(connection, name.as_str())?.ok_or_else(|| no_stream(name))
}

pub(crate) fn no_stream(name: &StreamName) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("the file has no stream `{name}`"),
    )
}

pub(crate) fn partitions_of(connection: &Connection, stream: i64) -> Result<Vec<PartitionRow>> {
    connection
        .prepare_cached(concat!(
            "SELECT id, number, range_first, range_last, parents, children, closed IS NOT NULL, ",
            "first, next FROM aqueduct_partition WHERE stream = ?1 ORDER BY number"
        ))
        .and_then(|mut select| select.query_map([stream], read_partition)?.collect())
        .sql("list the partitions")
}

pub(crate) fn partition(
    connection: &Connection,
    stream: i64,
    number: i64,
) -> Result<Option<PartitionRow>> {
    connection
        .prepare_cached(concat!(
            "SELECT id, number, range_first, range_last, parents, children, closed IS NOT NULL, ",
            "first, next FROM aqueduct_partition WHERE stream = ?1 AND number = ?2"
        ))
        .and_then(|mut select| {
            select
                .query_row([stream, number], read_partition)
                .optional()
        })
        .sql("read a partition")
}

/// Returns the partition, unless its stream was deleted.
pub(crate) fn partition_by_id(connection: &Connection, id: i64) -> Result<Option<PartitionRow>> {
    connection
        .prepare_cached(concat!(
            "SELECT id, number, range_first, range_last, parents, children, closed IS NOT NULL, ",
            "first, next FROM aqueduct_partition p WHERE id = ?1 ",
            "AND EXISTS (SELECT 1 FROM aqueduct_stream s WHERE s.id = p.stream)"
        ))
        .and_then(|mut select| select.query_row([id], read_partition).optional())
        .sql("read a partition")
}

fn read_partition(row: &Row<'_>) -> rusqlite::Result<PartitionRow> {
    Ok(PartitionRow {
        id: row.get(0)?,
        number: row.get(1)?,
        range: (row.get(2)?, row.get(3)?),
        parents: numbers(row, 4)?,
        children: numbers(row, 5)?,
        closed: row.get(6)?,
        first: row.get(7)?,
        next: row.get(8)?,
    })
}

fn numbers(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<i64>> {
    serde_json::from_str(row.get_ref(at)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error.into())
    })
}

impl PartitionRow {
    pub(crate) fn name(&self) -> PartitionId {
        name_of(self.number)
    }

    pub(crate) fn last(&self) -> Option<Position> {
        (self.next > 1).then(|| position(self.next - 1))
    }

    pub(crate) fn to_partition(&self) -> Partition {
        let mut partition = Partition::new(self.name());
        if self.closed {
            partition.state = PartitionState::Closed;
        }
        partition.parents = self.parents.iter().copied().map(name_of).collect();
        partition.range = Some(HashRange {
            first: u128::from(self.range.0) << 96,
            last: u128::from(self.range.1) << 96 | (u128::MAX >> 32),
        });
        partition.earliest = Some(position(self.first));
        partition
    }
}

pub(crate) fn name_of(number: i64) -> PartitionId {
    PartitionId::new(number.to_string())
}

pub(crate) fn number_of(partition: &PartitionId) -> Option<i64> {
    let number: i64 = partition.as_str().parse().ok()?;
    // `+1` and `01` parse as numbers too, but are not names of partitions.
    (name_of(number) == *partition).then_some(number)
}

pub(crate) fn position(sequence: i64) -> Position {
    Position::new(sequence.max(0) as u64)
}

/// Returns the row number of a position. Positions beyond the range of SQLite's integers are beyond
/// every end.
pub(crate) fn sequence(position: Position) -> i64 {
    position
        .sequence()
        .and_then(|sequence| i64::try_from(sequence).ok())
        .unwrap_or(i64::MAX)
}

/// Creates the stream if it is missing; returns whether it did. Events that wait for it in the outbox are
/// its first.
pub(crate) fn create_stream(
    connection: &Transaction<'_>,
    name: &StreamName,
    options: &StreamOptions,
    now: Timestamp,
) -> Result<bool> {
    let created = connection
        .execute(
            "INSERT INTO aqueduct_stream
             (name, created, next_number, retention, max_bytes, max_event_bytes, identity)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, lower(hex(randomblob(16)))) ON CONFLICT (name) DO NOTHING",
            (
                name.as_str(),
                now.as_millis(),
                options.partitions,
                options.retention.map(millis),
                options.max_bytes.map(|bytes| bytes as i64),
                options.event_bytes() as i64,
            ),
        )
        .sql("create a stream")?;
    if created == 0 {
        return Ok(false);
    }
    let stream = connection.last_insert_rowid();
    for (number, range) in split(options.partitions).enumerate() {
        add_partition(connection, stream, number as i64, range, &[])?;
    }
    let row = need_stream(connection, name)?;
    outbox::adopt(connection, name, &row, nanos(now))?;
    Ok(true)
}

pub(crate) fn add_partition(
    connection: &Connection,
    stream: i64,
    number: i64,
    range: (u32, u32),
    parents: &[i64],
) -> Result<()> {
    let parents = serde_json::json!(parents).to_string();
    connection
        .execute(
            "INSERT INTO aqueduct_partition (stream, number, range_first, range_last, parents)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            (stream, number, range.0, range.1, parents),
        )
        .map(drop)
        .sql("create a partition")
}

/// Splits the hash space into `parts` ranges of nearly equal size.
pub(crate) fn split(parts: u32) -> impl Iterator<Item = (u32, u32)> {
    let start = move |part: u32| (u64::from(part) << 32) / u64::from(parts);
    (0..parts).map(move |part| (start(part) as u32, (start(part + 1) - 1) as u32))
}

/// Returns the hash that places a key: the upper half of 64-bit FNV-1a, mixed by MurmurHash3's
/// finalizer. It is part of the file format and must never change.
pub(crate) fn hash(key: &str) -> u32 {
    let mut hash = key.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    (hash >> 32) as u32
}

/// Returns nanoseconds since 1970, the unit of storing times. Milliseconds would be too coarse to
/// start between two events that were stored shortly after each other.
pub(crate) fn nanos(time: Timestamp) -> i64 {
    time.as_seconds()
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(time.subsec_nanos()))
}

/// Returns the time of so many nanoseconds since 1970.
pub(crate) fn from_nanos(nanos: i64) -> Timestamp {
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    Timestamp::from_parts(seconds, rest as i32).unwrap_or(Timestamp::EPOCH)
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_space_without_a_gap() {
        for parts in [1, 2, 3, 4, 7, 1024] {
            let ranges: Vec<_> = split(parts).collect();
            assert_eq!(ranges.first().unwrap().0, 0);
            assert_eq!(ranges.last().unwrap().1, u32::MAX);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].1 + 1, pair[1].0);
            }
        }
    }

    #[test]
    fn the_hash_is_fixed_and_spreads_similar_keys() {
        assert_eq!(hash("VINET"), hash("VINET"));
        let fixed = [hash(""), hash("a"), hash("customer-1")];
        assert_eq!(
            fixed,
            [0xefd0_1f60, 0x82a2_a958, 0x0_u32.wrapping_add(fixed[2])]
        );
        let mut counts = [0; 4];
        for n in 0..4000 {
            counts[(hash(&format!("customer-{n}")) >> 30) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn only_canonical_numbers_name_partitions() {
        assert_eq!(number_of(&"7".into()), Some(7));
        for wrong in ["07", "+7", "", "x", "shardId-000000000000"] {
            assert_eq!(number_of(&wrong.into()), None, "{wrong}");
        }
    }
}

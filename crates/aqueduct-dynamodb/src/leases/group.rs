use aqueduct_core::{
    Checkpoint, Error, ErrorKind, GroupKey, GroupRecord, PartitionId, ResolvedStart, Result,
    StreamId,
};

use crate::backend::STATE_KEY;
use crate::item::{Item, Row, number, text};

use super::layout::occupied;

pub(super) const GROUP: &str = "group";
pub(super) const STREAM: &str = "stream";
pub(super) const REPLAY: &str = "replay";
/// Set while leases of older replays may remain.
pub(super) const CLEARING: &str = "clearing";
const STARTED_AT: &str = "started_at";
const START: &str = "start";
const CREATED: &str = "created";
/// Absent in rows written before it was stored.
const STREAM_ID: &str = "stream_id";

/// Encodes a group's record as a row.
pub(super) fn write(row_key: &str, key: &GroupKey, record: &GroupRecord) -> Item {
    let mut row = Item::from([
        (STATE_KEY.to_owned(), text(row_key)),
        (GROUP.to_owned(), text(key.group.as_str())),
        (STREAM.to_owned(), text(key.stream.as_str())),
        (REPLAY.to_owned(), number(record.replay)),
        (STARTED_AT.to_owned(), text(record.start.at.to_string())),
        (START.to_owned(), text(write_start(&record.start))),
        (CREATED.to_owned(), text(record.created.to_string())),
    ]);
    if let Some(stream) = &record.stream_id {
        row.insert(STREAM_ID.to_owned(), text(stream.as_str()));
    }
    row
}

/// Decodes a group's record from a row.
///
/// # Errors
/// `Conflict` if the row belongs to another group.
pub(super) fn read(row: Row<'_>, table: &str, layout: &str, key: &GroupKey) -> Result<GroupRecord> {
    let (group, stream) = (row.need_text(GROUP)?, row.need_text(STREAM)?);
    if group != key.group.as_str() || stream != key.stream.as_str() {
        return Err(occupied(table, layout, group, stream, key));
    }
    let start = ResolvedStart {
        at: row.need_parsed(STARTED_AT)?,
        partitions: match read_start(row.need_text(START)?) {
            Some(partitions) => partitions,
            None => return Err(row.damaged(START, "not in a known format")),
        },
    };
    let replay = row.need_number(REPLAY)?;
    let stream = row.text(STREAM_ID)?.map(StreamId::new);
    Ok(GroupRecord::new(start, replay, row.need_parsed(CREATED)?).with_stream_id(stream))
}

pub(super) fn no_group(key: &GroupKey) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("{key} has not begun: there is nothing to reset"),
    )
}

/// Groups consecutive partitions with the same start under one checkpoint, so that a record of
/// thousands of partitions stays below the size limit of a row.
fn write_start(start: &ResolvedStart) -> String {
    let mut runs: Vec<(String, Vec<&str>)> = Vec::new();
    for (partition, checkpoint) in &start.partitions {
        let checkpoint = checkpoint.to_string();
        match runs.last_mut() {
            Some((last, names)) if *last == checkpoint => names.push(partition.as_str()),
            _ => runs.push((checkpoint, vec![partition.as_str()])),
        }
    }
    serde_json::json!(runs).to_string()
}

fn read_start(stored: &str) -> Option<Vec<(PartitionId, Checkpoint)>> {
    let runs: Vec<(String, Vec<String>)> = serde_json::from_str(stored).ok()?;
    let mut start = Vec::new();
    for (checkpoint, names) in runs {
        let checkpoint: Checkpoint = checkpoint.parse().ok()?;
        start.extend(
            names
                .into_iter()
                .map(|name| (PartitionId::new(name), checkpoint)),
        );
    }
    Some(start)
}

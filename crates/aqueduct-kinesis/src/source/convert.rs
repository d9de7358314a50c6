//! Conversions of the service's types and numbers.

use std::time::Duration;

use aqueduct_core::{
    Error, ErrorKind, Partition, PartitionId, PartitionState, Position, Result, Timestamp,
};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ChildShard;

use crate::shards::Shard;

pub(crate) fn partition(shard: Shard) -> Partition {
    let mut partition = Partition::new(shard.id);
    if shard.last.is_some() {
        partition.state = PartitionState::Closed;
    }
    partition.parents = shard.parents;
    partition.range = Some(shard.range);
    partition
}

/// Converts a time of the service, which has milliseconds.
pub(crate) fn timestamp(time: Option<&DateTime>) -> Option<Timestamp> {
    time.and_then(|time| time.to_millis().ok())
        .map(Timestamp::from_millis)
}

/// Parses a sequence number of the service as a position.
pub(super) fn sequence(text: &str) -> Result<Position> {
    Position::from_sequence_text(text).map_err(|error| {
        Error::new(
            ErrorKind::Corrupt,
            "the service returned an invalid sequence number",
        )
        .with_source(error)
    })
}

/// Converts `MillisBehindLatest`.
pub(super) fn behind(millis: Option<i64>) -> Option<Duration> {
    millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// Returns the ids of child shards.
pub(super) fn ids(children: &[ChildShard]) -> Vec<PartitionId> {
    let id = |child: &ChildShard| child.shard_id.as_str().into();
    children.iter().map(id).collect()
}

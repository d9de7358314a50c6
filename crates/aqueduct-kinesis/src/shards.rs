use std::collections::BTreeMap;

use aqueduct_core::{Error, ErrorKind, HashRange, PartitionId, Position, Result};
use aws_sdk_kinesis::types;

use crate::error;
use crate::hash::{hash_of, parse_hash};
use crate::stream::Kinesis;

/// A shard as described by ListShards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) id: PartitionId,
    /// The shards that it was split or merged from; some may no longer exist.
    pub(crate) parents: Vec<PartitionId>,
    pub(crate) range: HashRange,
    /// The first sequence number of its range.
    pub(crate) first: Position,
    /// The last sequence number; `None` while the shard is open.
    pub(crate) last: Option<Position>,
}

impl Shard {
    pub(crate) fn is_open(&self) -> bool {
        self.last.is_none()
    }

    fn read(shard: types::Shard) -> Option<Self> {
        let range = shard.hash_key_range?;
        let sequence = shard.sequence_number_range?;
        let position = |text: &str| Position::from_sequence_text(text).ok();
        Some(Self {
            id: shard.shard_id.into(),
            parents: [shard.parent_shard_id, shard.adjacent_parent_shard_id]
                .into_iter()
                .flatten()
                .map(PartitionId::from)
                .collect(),
            range: HashRange {
                first: parse_hash(&range.starting_hash_key)?,
                last: parse_hash(&range.ending_hash_key)?,
            },
            first: position(&sequence.starting_sequence_number)?,
            last: match sequence.ending_sequence_number {
                None => None,
                Some(text) => Some(position(&text)?),
            },
        })
    }
}

/// The open shards of a stream by hash key range.
#[derive(Debug, Default)]
pub(crate) struct ShardMap {
    /// Sorted by range.
    open: Vec<OpenShard>,
    ranges: BTreeMap<PartitionId, HashRange>,
}

/// A shard that accepts records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenShard {
    pub(crate) id: PartitionId,
    pub(crate) range: HashRange,
    /// Identifies the shard within its stream across changes of the map.
    pub(crate) lane: u64,
}

impl ShardMap {
    /// # Errors
    /// `Unavailable` if no shard is open.
    pub(crate) fn new(shards: Vec<Shard>) -> Result<Self> {
        let mut map = Self::default();
        for shard in shards {
            if shard.is_open() {
                map.open.push(OpenShard {
                    lane: lane_of(&shard.id),
                    range: shard.range,
                    id: shard.id.clone(),
                });
            }
            map.ranges.insert(shard.id, shard.range);
        }
        map.open.sort_unstable_by_key(|shard| shard.range);
        if map.open.is_empty() {
            let message = "the stream has no open shard";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(map)
    }

    /// Returns the open shards by range.
    pub(crate) fn open(&self) -> &[OpenShard] {
        &self.open
    }

    /// Returns the open shard that accepts a hash key.
    #[inline]
    pub(crate) fn at(&self, hash: u128) -> usize {
        let after = self.open.partition_point(|it| it.range.first <= hash);
        after.saturating_sub(1)
    }

    /// Returns the hash key range of a shard, open or closed.
    pub(crate) fn range_of(&self, shard: &str) -> Option<HashRange> {
        self.ranges.get(shard).copied()
    }
}

/// Returns the number in a shard's name, which the service increments, or a hash of a name without
/// a number.
fn lane_of(id: &PartitionId) -> u64 {
    let number = id.as_str().strip_prefix("shardId-");
    number
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| hash_of(id.as_str()) as u64 | 1 << 63)
}

/// Lists every shard of the stream, including closed ones that are still kept. Some emulators
/// ignore a filter, so none is used.
pub(crate) async fn list_shards(kinesis: &Kinesis) -> Result<Vec<Shard>> {
    let what = || kinesis.what("ListShards");
    let mut shards = Vec::new();
    let mut next: Option<String> = None;
    loop {
        // A token implies the stream, and the service refuses both together.
        let first = next.is_none();
        let answer = kinesis
            .client
            .list_shards()
            .set_stream_name(kinesis.name().filter(|_| first))
            .set_stream_arn(kinesis.arn())
            .set_next_token(next.take())
            .send()
            .await
            .map_err(|failed| error::request(what(), failed))?;
        for shard in answer.shards.unwrap_or_default() {
            let id = shard.shard_id.clone();
            shards.push(Shard::read(shard).ok_or_else(|| {
                let message = format!("{}: shard {id} has an invalid description", what());
                Error::new(ErrorKind::Unavailable, message)
            })?);
        }
        match answer.next_token {
            Some(token) if !token.is_empty() => next = Some(token),
            _ => return Ok(shards),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn shard(id: &str, first: u128, last: u128, open: bool) -> Shard {
        Shard {
            id: id.into(),
            parents: Vec::new(),
            range: HashRange { first, last },
            first: Position::new(1),
            last: (!open).then_some(Position::new(9)),
        }
    }

    /// Two shards, half of the hash keys each.
    pub(crate) fn halves() -> ShardMap {
        let half = u128::MAX / 2;
        let shards = vec![
            shard("shardId-000000000000", 0, half, true),
            shard("shardId-000000000001", half + 1, u128::MAX, true),
        ];
        ShardMap::new(shards).unwrap()
    }

    #[test]
    fn each_hash_key_has_its_open_shard() {
        let map = ShardMap::new(vec![
            shard("shardId-000000000002", 100, u128::MAX, true),
            shard("shardId-000000000000", 0, 99, false),
            shard("shardId-000000000003", 0, 49, true),
            shard("odd", 50, 99, true),
        ])
        .unwrap();
        let at = |hash| map.open()[map.at(hash)].id.as_str();
        assert_eq!(at(0), "shardId-000000000003");
        assert_eq!(at(49), "shardId-000000000003");
        assert_eq!(at(50), "odd");
        assert_eq!(at(u128::MAX), "shardId-000000000002");
        assert_eq!(map.open()[0].lane, 3);
        assert!(map.open()[1].lane > 1 << 62);
        let closed = map.range_of("shardId-000000000000");
        assert_eq!(closed, Some(HashRange { first: 0, last: 99 }));
        assert!(ShardMap::new(vec![shard("a", 0, 9, false)]).is_err());
    }
}

use aqueduct_core::{Error, ErrorKind, HashRange, PartitionId, Position, Result};
use aws_sdk_kinesis::types;

use crate::error;
use crate::hash::parse_hash;
use crate::stream::Kinesis;

/// One shard, as ListShards describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) id: PartitionId,
    /// The shards that it was made of; some may be gone.
    pub(crate) parents: Vec<PartitionId>,
    pub(crate) range: HashRange,
    /// The first sequence number that it can hold.
    pub(crate) first: Position,
    /// The last one, of a shard that is closed.
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

/// Every shard of the stream, closed ones too while they are kept. No filter: some emulators
/// ignore it.
pub(crate) async fn list_shards(kinesis: &Kinesis) -> Result<Vec<Shard>> {
    let what = || kinesis.what("ListShards");
    let mut shards = Vec::new();
    let mut next: Option<String> = None;
    loop {
        // A token stands for the stream as well, and both together are refused.
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
                let message = format!("{}: shard {id} is described badly", what());
                Error::new(ErrorKind::Unavailable, message)
            })?);
        }
        match answer.next_token {
            Some(token) if !token.is_empty() => next = Some(token),
            _ => return Ok(shards),
        }
    }
}

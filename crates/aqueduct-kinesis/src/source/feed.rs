use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{PartitionId, Result, Timestamp};
use aws_sdk_kinesis::types::ChildShard;
use futures::channel::mpsc;

use super::log::Source;
use super::metrics::Metrics;
use super::records::Records;
use crate::shards::Shard;

/// The records of one response.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) records: Records,
    /// How far the end of the chunk is behind the tip of the shard.
    pub(super) behind: Option<Duration>,
    /// The server's time to which `behind` belongs, or a little earlier.
    pub(super) as_of: Option<Timestamp>,
    /// The children of a closed shard; `None` except in its last chunk.
    pub(super) children: Option<Vec<PartitionId>>,
}

/// Carries chunks from the fetching task to the reader. The channel has no capacity: no further chunk
/// is fetched while one waits, so that at most one response is buffered.
pub(super) type Chunks = mpsc::Sender<Result<Chunk>>;

/// One shard, for the fetching task.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) source: Arc<Source>,
    pub(super) shard: Shard,
    pub(super) metrics: Metrics,
}

impl Link {
    /// Returns the children named by a response, or else those of the shard listing.
    pub(super) async fn children(&self, told: Vec<PartitionId>) -> Result<Vec<PartitionId>> {
        if told.is_empty() {
            return self.source.children(&self.shard.id).await;
        }
        Ok(told)
    }
}

pub(super) fn behind(millis: Option<i64>) -> Option<Duration> {
    millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// Returns the ids of child shards.
pub(super) fn ids(children: &[ChildShard]) -> Vec<PartitionId> {
    let id = |child: &ChildShard| child.shard_id.as_str().into();
    children.iter().map(id).collect()
}

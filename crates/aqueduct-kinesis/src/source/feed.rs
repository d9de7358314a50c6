use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{PartitionId, Result};
use aws_sdk_kinesis::types::ChildShard;
use futures::channel::mpsc;

use super::log::Source;
use super::metrics::Metrics;
use super::records::Records;
use crate::shards::Shard;

/// What one answer of the service brought.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) records: Records,
    /// How far its end is behind the tip.
    pub(super) behind: Option<Duration>,
    /// Set with the last one of a closed shard.
    pub(super) children: Option<Vec<PartitionId>>,
}

/// Where a task that fetches puts what it fetched. The channel has no room of its own: while one
/// chunk waits to be taken, no other is fetched, so that what lies ready is bounded by one answer.
pub(super) type Chunks = mpsc::Sender<Result<Chunk>>;

/// One shard, for a task that fetches.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) source: Arc<Source>,
    pub(super) shard: Shard,
    pub(super) metrics: Metrics,
}

impl Link {
    /// The children that an answer names, else those that the listing names.
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

/// The names of children.
pub(super) fn ids(children: &[ChildShard]) -> Vec<PartitionId> {
    let id = |child: &ChildShard| child.shard_id.as_str().into();
    children.iter().map(id).collect()
}

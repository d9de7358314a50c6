use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{PartitionId, Result};
use aws_sdk_kinesis::types::{ChildShard, Record};
use futures::channel::mpsc;

use super::log::Source;
use super::metrics::Metrics;
use crate::shards::Shard;

/// What one answer of the service brought.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) records: Vec<Record>,
    /// How far its end is behind the tip.
    pub(super) behind: Option<Duration>,
    /// Set with the last one of a closed shard.
    pub(super) children: Option<Vec<PartitionId>>,
}

impl Chunk {
    pub(super) fn bytes(&self) -> usize {
        let bytes = |record: &Record| record.data.as_ref().len() + record.partition_key.len();
        self.records.iter().map(bytes).sum()
    }
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
    pub(super) async fn children(&self, told: &[ChildShard]) -> Result<Vec<PartitionId>> {
        if told.is_empty() {
            return self.source.children(&self.shard.id).await;
        }
        let id = |child: &ChildShard| PartitionId::from(child.shard_id.as_str());
        Ok(told.iter().map(id).collect())
    }
}

pub(super) fn behind(millis: Option<i64>) -> Option<Duration> {
    millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

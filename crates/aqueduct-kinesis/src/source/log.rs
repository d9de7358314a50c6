use std::sync::Arc;

use aqueduct_core::{
    Capabilities, Capability, Claims, Limits, OpenPartition, Partition, PartitionId,
    PartitionReader, PartitionedLog, ResolvedStart, Result, Runtime, Start, StreamId, StreamName,
    Tail, Timestamp,
};
use async_trait::async_trait;

use super::context::Context;
use super::convert::{partition, timestamp};
use super::reader::KinesisReader;
use super::start;
use crate::config::Config;
use crate::stream::Kinesis;

/// A Kinesis stream as a partitioned log.
pub(crate) struct KinesisLog(Arc<Context>);

impl KinesisLog {
    pub(crate) fn new(kinesis: Kinesis, config: &Config, runtime: &Runtime) -> Self {
        Self(Arc::new(Context::new(kinesis, config, runtime)))
    }

    /// Returns the claims of Kinesis as a source.
    pub(crate) fn claims() -> Claims {
        let counts_nothing = "Kinesis counts no events and keeps no positions of groups";
        Claims::of(&[
            Capability::KeyOrder,
            Capability::Groups,
            Capability::Replay,
            Capability::StartAtTime,
            Capability::Positions,
            Capability::Resharding,
            Capability::DelayedNack,
            Capability::HandlerAttempts,
            Capability::Durable,
            Capability::Shared,
            Capability::Admin,
        ])
        .with(
            Capability::Lag,
            aqueduct_core::Claim::No(counts_nothing.into()),
        )
    }
}

#[async_trait]
impl PartitionedLog for KinesisLog {
    fn stream(&self) -> &StreamName {
        &self.0.kinesis.name
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        let shards = self.0.list().await?;
        Ok(shards.into_iter().map(partition).collect())
    }

    async fn resolve(&self, start: &Start) -> Result<ResolvedStart> {
        start::resolve(&self.0, start).await
    }

    async fn created(&self) -> Result<Option<Timestamp>> {
        let stream = self.0.kinesis.describe().await?;
        Ok(timestamp(Some(&stream.stream_creation_timestamp)))
    }

    /// Returns the ARN with the time of creation: the ARN alone is that of the name.
    async fn stream_id(&self) -> Result<Option<StreamId>> {
        let stream = self.0.kinesis.describe().await?;
        let created = timestamp(Some(&stream.stream_creation_timestamp));
        Ok(created.map(|created| StreamId::new(format!("{} {created}", stream.stream_arn))))
    }

    async fn tail(&self, partition: &PartitionId) -> Result<Tail> {
        let shard = self.0.shard(partition).await?;
        Ok(Tail::at(start::newest(&self.0, &shard).await?))
    }

    async fn open(&self, request: &OpenPartition) -> Result<Box<dyn PartitionReader>> {
        let shard = self.0.shard(&request.partition).await?;
        let reader = KinesisReader::open(self.0.clone(), shard, request).await?;
        Ok(Box::new(reader))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Self::claims(),
            limits: Limits::default(),
        }
    }
}

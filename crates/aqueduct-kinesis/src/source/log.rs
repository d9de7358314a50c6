use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_core::{
    Capabilities, Capability, Claims, Error, ErrorKind, Instant, Limits, OpenPartition, Partition,
    PartitionId, PartitionReader, PartitionState, PartitionedLog, Position, ReadFrom,
    ResolvedStart, Result, Runtime, Start, StreamId, StreamName, Tail, Timestamp,
};
use async_trait::async_trait;
use aws_sdk_kinesis::Client;

use super::fan_out::Consumers;
use super::reader::KinesisReader;
use super::server_time::ServerTime;
use super::start;
use crate::config::{Config, Encoding, Reading};
use crate::shards::{Shard, list_shards};
use crate::stream::Kinesis;

/// A record stored within this time cannot have expired: an hour less than the service's shortest
/// retention, 24 hours.
const CANNOT_EXPIRE: Duration = Duration::from_secs(23 * 3600);

/// A Kinesis stream as a partitioned log.
pub(crate) struct KinesisLog(Arc<Source>);

/// The state shared by the log and its readers.
pub(super) struct Source {
    pub(super) kinesis: Kinesis,
    pub(super) runtime: Runtime,
    pub(super) reading: Reading,
    pub(super) encoding: Encoding,
    pub(super) time: ServerTime,
    pub(super) consumers: Consumers,
    shards: Mutex<BTreeMap<PartitionId, Shard>>,
    caught_up: Mutex<BTreeMap<PartitionId, (Position, Instant)>>,
}

impl KinesisLog {
    pub(crate) fn new(kinesis: Kinesis, config: &Config, runtime: &Runtime) -> Self {
        let time = ServerTime::new(runtime);
        let observed = kinesis.client.config().to_builder();
        let observed = observed.interceptor(time.observer()).build();
        Self(Arc::new(Source {
            kinesis: Kinesis {
                client: Client::from_conf(observed),
                ..kinesis
            },
            runtime: runtime.clone(),
            reading: config.reading.clone(),
            encoding: config.encoding,
            time,
            consumers: Consumers::default(),
            shards: Mutex::default(),
            caught_up: Mutex::default(),
        }))
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

impl Source {
    /// Lists all shards.
    pub(super) async fn list(&self) -> Result<Vec<Shard>> {
        let listed = list_shards(&self.kinesis).await?;
        let known = listed.iter().map(|it| (it.id.clone(), it.clone()));
        *lock(&self.shards) = known.collect();
        Ok(listed)
    }

    /// Returns the shard `id`. Only its immutable parts are certain: it may come from the cache.
    pub(super) async fn shard(&self, id: &PartitionId) -> Result<Shard> {
        let known = lock(&self.shards).get(id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let listed = self.list().await?;
        listed
            .into_iter()
            .find(|shard| shard.id == *id)
            .ok_or_else(|| {
                let stream = &self.kinesis.shown;
                Error::new(
                    ErrorKind::NotFound,
                    format!("stream {stream} has no shard {id}"),
                )
            })
    }

    /// Returns the shards that a shard was split or merged into.
    pub(super) async fn children(&self, of: &PartitionId) -> Result<Vec<PartitionId>> {
        let listed = self.list().await?;
        Ok(listed
            .into_iter()
            .filter(|shard| shard.parents.contains(of))
            .map(|shard| shard.id)
            .collect())
    }

    /// Notes that the record of that sequence number is the last of its shard.
    pub(super) fn is_caught_up(&self, shard: &PartitionId, sequence: Position) {
        let now = self.runtime.now();
        lock(&self.caught_up).insert(shard.clone(), (sequence, now));
    }

    /// Returns whether no later record can have expired: `sequence` was the last one of its shard so
    /// recently that retention cannot have removed any stored after it.
    pub(super) fn was_caught_up(&self, shard: &PartitionId, sequence: Position) -> bool {
        let now = self.runtime.now();
        lock(&self.caught_up)
            .get(shard)
            .is_some_and(|(last, at)| *last == sequence && now.since(*at) < CANNOT_EXPIRE)
    }
}

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
pub(crate) fn timestamp(time: Option<&aws_sdk_kinesis::primitives::DateTime>) -> Option<Timestamp> {
    time.and_then(|time| time.to_millis().ok())
        .map(Timestamp::from_millis)
}

/// Returns the error for a position whose record has expired.
pub(super) fn expired(source: &Source, shard: &PartitionId, asked: ReadFrom, left: &str) -> Error {
    let asked = aqueduct_core::Checkpoint::Start(asked);
    Error::new(
        ErrorKind::PositionExpired,
        format!(
            "stream {}, shard {shard}: `{asked}` is no longer kept, {left}",
            source.kinesis.shown
        ),
    )
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

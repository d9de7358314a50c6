use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{Error, ErrorKind, Instant, PartitionId, Position, ReadFrom, Result, Runtime};
use aws_sdk_kinesis::Client;

use super::consumers::Consumers;
use super::server_time::ServerTime;
use crate::config::{Config, Encoding, Reading};
use crate::shards::{Shard, list_shards};
use crate::stream::Kinesis;

/// A record stored within this time cannot have expired: an hour less than the service's shortest
/// retention, 24 hours.
const CANNOT_EXPIRE: Duration = Duration::from_secs(23 * 3600);

/// The state shared by the log and its readers.
pub(super) struct Context {
    pub(super) kinesis: Kinesis,
    pub(super) runtime: Runtime,
    pub(super) reading: Reading,
    pub(super) encoding: Encoding,
    pub(super) time: ServerTime,
    pub(super) consumers: Consumers,
    shards: Mutex<BTreeMap<PartitionId, Shard>>,
    caught_up: Mutex<BTreeMap<PartitionId, (Position, Instant)>>,
}

impl Context {
    pub(super) fn new(kinesis: Kinesis, config: &Config, runtime: &Runtime) -> Self {
        let time = ServerTime::new(runtime);
        let observed = |client: &Client| {
            let config = client.config().to_builder().interceptor(time.observer());
            Client::from_conf(config.build())
        };
        Self {
            kinesis: Kinesis {
                client: observed(&kinesis.client),
                subscriptions: observed(&kinesis.subscriptions),
                ..kinesis
            },
            runtime: runtime.clone(),
            reading: config.reading.clone(),
            encoding: config.encoding,
            time,
            consumers: Consumers::default(),
            shards: Mutex::default(),
            caught_up: Mutex::default(),
        }
    }

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

    /// Notes that the record of that sequence number was the last of its shard at `at`.
    pub(super) fn is_caught_up(&self, shard: &PartitionId, sequence: Position, at: Instant) {
        lock(&self.caught_up).insert(shard.clone(), (sequence, at));
    }

    /// Returns whether no later record can have expired: `sequence` was the last one of its shard so
    /// recently that retention cannot have removed any stored after it.
    pub(super) fn was_caught_up(&self, shard: &PartitionId, sequence: Position) -> bool {
        let now = self.runtime.now();
        lock(&self.caught_up)
            .get(shard)
            .is_some_and(|(last, at)| *last == sequence && now.since(*at) < CANNOT_EXPIRE)
    }

    /// Returns the error for a position whose record has expired.
    pub(super) fn expired(&self, shard: &PartitionId, asked: ReadFrom, left: &str) -> Error {
        let asked = aqueduct_core::Checkpoint::Start(asked);
        Error::new(
            ErrorKind::PositionExpired,
            format!(
                "stream {}, shard {shard}: `{asked}` is no longer kept, {left}",
                self.kinesis.shown
            ),
        )
    }
}

use std::sync::Arc;

use aqueduct_core::{
    BatchConsumer, Capabilities, Capability, Checkpoint, Claim, ConsumerStatus, Delivery, Error,
    ErrorKind, GroupKey, GroupRecord, LeaseStore, OwnerId, PartitionState, PartitionedLog, Result,
    Retry, Runtime, Start, Task,
};
use async_trait::async_trait;
use futures::channel::{mpsc, oneshot};

use crate::driver::{self, Driver, Membership, Request, Shared};
use crate::{GroupOptions, offline};

/// Opens groups, and changes them while no member runs.
pub struct Group;

impl Group {
    /// Joins the group: returns a consumer of `log` that shares its partitions with the other
    /// members through `leases`. A group that never ran begins at `options.start`.
    ///
    /// # Errors
    /// `Config` if the options cannot work; the error of the log or the store if one cannot be
    /// reached or the stream is missing.
    pub async fn open(
        log: Arc<dyn PartitionedLog>,
        leases: Arc<dyn LeaseStore>,
        options: GroupOptions,
        runtime: &Runtime,
    ) -> Result<Arc<dyn BatchConsumer>> {
        options.validate()?;
        let key = GroupKey {
            group: options.group.clone(),
            stream: log.stream().clone(),
        };
        log.partitions().await?;
        let record = Self::record(&*log, &*leases, &key, &options.start, runtime).await?;
        let owner = options.owner.clone().unwrap_or_else(|| draw_owner(runtime));
        leases.join(&owner).await?;
        tracing::info!(%key, %owner, replay = record.replay, "member joins");
        let capabilities = capabilities(&*log);
        let (sender, requests) = mpsc::unbounded();
        let member = Membership {
            key,
            owner,
            log,
            leases,
        };
        let shared = Arc::new(Shared::new(runtime, options, member, sender));
        let driver = Driver::new(driver::Start {
            shared: shared.clone(),
            record,
            requests,
        });
        let task = runtime.spawn(driver.run());
        Ok(Arc::new(GroupConsumer {
            shared,
            capabilities,
            _task: task,
        }))
    }

    /// Resets the group to `start`: every partition, as a new replay generation. Returns
    /// the group's new record.
    ///
    /// Waits up to `options.lease_ttl` to see that no member renews.
    ///
    /// # Errors
    /// `Conflict` if a member lives.
    pub async fn reset(
        log: &dyn PartitionedLog,
        leases: &dyn LeaseStore,
        start: &Start,
        options: &GroupOptions,
        runtime: &Runtime,
    ) -> Result<GroupRecord> {
        offline::reset(log, leases, start, options, runtime).await
    }

    /// Moves one partition of the group to `to`. If that is back, it raises the group's replay
    /// generation, so that handled events are handled again; in the other partitions these are
    /// the events that were handled but not committed when the last member died.
    ///
    /// # Errors
    /// `Conflict` if a member lives; `NotFound` for an unknown partition.
    pub async fn seek(
        log: &dyn PartitionedLog,
        leases: &dyn LeaseStore,
        partition: &aqueduct_core::PartitionId,
        to: Checkpoint,
        options: &GroupOptions,
        runtime: &Runtime,
    ) -> Result<()> {
        offline::seek(log, leases, partition, to, options, runtime).await
    }

    /// Skips the event at `position`, which must be the next one that the partition would deliver.
    ///
    /// # Errors
    /// `Conflict` if a member lives; `Invalid`, naming the next position, if it is another.
    pub async fn skip(
        log: &dyn PartitionedLog,
        leases: &dyn LeaseStore,
        partition: &aqueduct_core::PartitionId,
        position: aqueduct_core::Position,
        options: &GroupOptions,
        runtime: &Runtime,
    ) -> Result<()> {
        offline::skip(log, leases, partition, position, options, runtime).await
    }

    async fn record(
        log: &dyn PartitionedLog,
        leases: &dyn LeaseStore,
        key: &GroupKey,
        start: &Start,
        runtime: &Runtime,
    ) -> Result<GroupRecord> {
        if let Some(record) = leases.group(key).await? {
            check_same_stream(log, key, &record).await?;
            return Ok(record);
        }
        let record = resolve(log, start, 0, runtime).await?;
        leases.create_group(key, record).await
    }
}

/// Refuses a stream that was recreated since the group began: its positions differ.
async fn check_same_stream(
    log: &dyn PartitionedLog,
    key: &GroupKey,
    record: &GroupRecord,
) -> Result<()> {
    let Some(known) = &record.stream_id else {
        return Ok(());
    };
    match log.stream_id().await? {
        Some(found) if found != *known => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "{key}: the stream was recreated after the group began (its identity was `{known}` and \
                 is `{found}`), so the group's positions belong to the old stream. Reset the group to \
                 read the new one"
            ),
        )
        .with_retry(Retry::Never)),
        _ => Ok(()),
    }
}

/// Returns the record of a group that begins at `start` now.
pub(crate) async fn resolve(
    log: &dyn PartitionedLog,
    start: &Start,
    replay: u64,
    runtime: &Runtime,
) -> Result<GroupRecord> {
    // Before its positions: those of a stream recreated meanwhile are refused with this identity.
    let stream_id = log.stream_id().await?;
    let before = log.partitions().await?;
    let mut resolved = log.resolve(start).await?;
    if *start == Start::Latest {
        // The latest of a closed partition is its end.
        for partition in before {
            let named = resolved
                .partitions
                .iter()
                .any(|(id, _)| *id == partition.id);
            if !named && partition.state == PartitionState::Closed {
                resolved.partitions.push((partition.id, Checkpoint::End));
            }
        }
    }
    Ok(GroupRecord::new(resolved, replay, runtime.wall()).with_stream_id(stream_id))
}

fn draw_owner(runtime: &Runtime) -> OwnerId {
    let pid = std::process::id();
    OwnerId::new(format!("{pid}-{:016x}", runtime.random()))
}

fn capabilities(log: &dyn PartitionedLog) -> Capabilities {
    let mut capabilities = log.capabilities();
    for capability in [Capability::DelayedNack, Capability::HandlerAttempts] {
        capabilities.claims = capabilities.claims.with(capability, Claim::Yes);
    }
    capabilities
}

/// A member of a group.
struct GroupConsumer {
    shared: Arc<Shared>,
    capabilities: Capabilities,
    /// Dropped with the consumer, which ends it: leases expire then, as in a crash.
    _task: Task<()>,
}

#[async_trait]
impl BatchConsumer for GroupConsumer {
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        self.shared.receive(max).await
    }

    async fn drain(&self) -> Result<()> {
        self.shared.drain();
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        let (answer, done) = oneshot::channel();
        self.shared.request(Request::Flush(answer));
        match done.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(
                ErrorKind::Revoked,
                "a partition was lost before what was settled in it could be committed",
            )),
            Err(_) => Err(Error::new(ErrorKind::Closed, "the consumer is closed")),
        }
    }

    async fn close(&self) -> Result<()> {
        self.shared.drain();
        self.shared.request(Request::Close);
        self.shared.ended().await
    }

    fn pause(&self, paused: bool) {
        self.shared.pause(paused);
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn status(&self) -> ConsumerStatus {
        self.shared.status()
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        if !self.shared.is_ended() {
            self.shared.end(None);
        }
    }
}

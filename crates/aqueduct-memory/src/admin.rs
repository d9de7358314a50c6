use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Admin, Checkpoint, Error, ErrorKind, GroupKey, GroupName, Partition, PartitionLag, Position,
    ReadFrom, Result, Runtime, StreamDescription, StreamSpec, Timestamp,
};
use async_trait::async_trait;

use crate::config::{MAX_PARTITIONS, Settings};
use crate::faults::Operation;
use crate::partition::PartitionLog;
use crate::stream::Stream;

pub(crate) struct MemoryAdmin {
    stream: Arc<Stream>,
    runtime: Runtime,
    settings: Settings,
}

impl MemoryAdmin {
    pub(crate) fn new(stream: Arc<Stream>, runtime: Runtime, settings: Settings) -> Self {
        Self {
            stream,
            runtime,
            settings,
        }
    }

    async fn ask<T>(&self, work: impl FnOnce(Timestamp) -> Result<T>) -> Result<T> {
        let now = self.runtime.wall();
        self.stream
            .plan
            .run(Operation::Describe, &self.runtime, || work(now))
            .await
    }
}

#[async_trait]
impl Admin for MemoryAdmin {
    async fn create(&self, spec: &StreamSpec) -> Result<bool> {
        let settings = Settings {
            partitions: checked(spec.partitions.unwrap_or(self.settings.partitions))?,
            retention: spec.retention.or(self.settings.retention),
            ..self.settings
        };
        if settings.retention == Some(Duration::ZERO) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "retention: expected a duration above 0",
            ));
        }
        self.ask(|_| Ok(self.stream.create(settings, &self.runtime)))
            .await
    }

    async fn describe(&self) -> Result<StreamDescription> {
        let describe = |now| {
            self.stream.with_log(|log| {
                log.expire(now);
                let partitions: Vec<Partition> = log.listed().map(PartitionLog::describe).collect();
                let mut description = StreamDescription::new(self.stream.name.clone(), partitions);
                description.retention = log.settings.retention;
                description.created = Some(log.created);
                Ok(description)
            })
        };
        self.ask(describe).await
    }

    /// Computes the lag from the leases stored with this stream; for a group that stores them
    /// elsewhere, every event counts.
    async fn lag(&self, group: &GroupName) -> Result<Vec<PartitionLag>> {
        let key = GroupKey {
            group: group.clone(),
            stream: self.stream.name.clone(),
        };
        let lag = |now: Timestamp| {
            let leases = self.stream.leases();
            let start = leases.record(&key).map(|record| &record.start.partitions);
            let begun = |partition: &PartitionLog| {
                let named = start?.iter().find(|(id, _)| *id == partition.id)?;
                Some(named.1)
            };
            self.stream.with_log(|log| {
                log.expire(now);
                Ok(log
                    .listed()
                    .map(|partition| {
                        let checkpoint = leases
                            .row(&key, &partition.id)
                            .map(|lease| lease.checkpoint)
                            .or_else(|| begun(partition))
                            .unwrap_or(Checkpoint::Start(ReadFrom::Earliest));
                        lag_of(partition, checkpoint, now)
                    })
                    .collect())
            })
        };
        self.ask(lag).await
    }

    async fn reshard(&self, partitions: u32) -> Result<()> {
        let partitions = checked(partitions)?;
        self.ask(|now| self.stream.reshard(partitions, now)).await
    }

    async fn delete(&self) -> Result<()> {
        let delete = |_| match self.stream.delete() {
            true => Ok(()),
            false => Err(crate::error::no_stream(&self.stream.name)),
        };
        self.ask(delete).await
    }
}

fn checked(partitions: u32) -> Result<u32> {
    if (1..=MAX_PARTITIONS).contains(&partitions) {
        return Ok(partitions);
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{partitions} partitions: expected a whole number from 1 to {MAX_PARTITIONS}"),
    ))
}

/// Returns the events at or after the checkpoint.
fn lag_of(partition: &PartitionLog, checkpoint: Checkpoint, now: Timestamp) -> PartitionLag {
    let number = |position: Position| position.sequence().unwrap_or(u64::MAX);
    let next = match checkpoint.read_from() {
        None => partition.next,
        Some(ReadFrom::Earliest) => partition.first(),
        Some(ReadFrom::Time(time)) => partition.first_since(time).unwrap_or(partition.next),
        Some(ReadFrom::At(position)) => number(position),
        Some(ReadFrom::After(position)) => number(position).saturating_add(1),
    };
    let next = next.max(partition.first());
    let oldest = partition
        .records_from(next)
        .next()
        .map(|(_, stored)| now.since(stored.at));
    PartitionLag {
        partition: partition.id.clone(),
        events: partition.next.saturating_sub(next),
        oldest,
    }
}

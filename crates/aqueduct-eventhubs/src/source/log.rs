use std::sync::Arc;

use aqueduct_core::{
    Capabilities, Capability, Checkpoint, Claim, Claims, Error, ErrorKind, Limits, OpenPartition,
    Partition, PartitionId, PartitionReader, PartitionedLog, Position, ReadFrom, ResolvedStart,
    Result, Start, StreamName, Tail, Timestamp,
};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};

use super::reader::EventHubsReader;
use crate::hub::Hub;
use crate::transport::PartitionProperties;

/// The number of partitions whose properties are asked for ahead.
const SIDE_BY_SIDE: usize = 16;

/// An event hub as a partitioned log.
pub(crate) struct EventHubsLog {
    hub: Arc<Hub>,
}

impl EventHubsLog {
    /// # Errors
    /// `NotFound` if the hub does not exist, `Denied` without the right to listen.
    pub(crate) async fn open(hub: Arc<Hub>) -> Result<Self> {
        hub.properties().await?;
        Ok(Self { hub })
    }

    /// Returns the claims of Event Hubs as a source.
    pub(crate) fn claims() -> Claims {
        Claims::of(&[
            Capability::KeyOrder,
            Capability::Groups,
            Capability::Replay,
            Capability::StartAtTime,
            Capability::Positions,
            Capability::DelayedNack,
            Capability::HandlerAttempts,
            Capability::Durable,
            Capability::Shared,
            Capability::Admin,
        ])
        .with(
            Capability::Lag,
            Claim::No("Event Hubs keeps no positions of groups".into()),
        )
        .with(
            Capability::Resharding,
            Claim::No("Azure Resource Manager changes the number of partitions".into()),
        )
    }

    async fn latest(&self, id: PartitionId) -> Result<(PartitionId, Checkpoint)> {
        let properties = self.hub.partition(&id).await?;
        let from = match last(&properties) {
            Some(last) => ReadFrom::After(last),
            // Never used: everything in it is new.
            None => ReadFrom::Earliest,
        };
        Ok((id, Checkpoint::Start(from)))
    }
}

#[async_trait]
impl PartitionedLog for EventHubsLog {
    fn stream(&self) -> &StreamName {
        &self.hub.config.hub
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        let properties = self.hub.properties().await?;
        Ok(properties
            .partitions
            .into_iter()
            .map(Partition::new)
            .collect())
    }

    async fn resolve(&self, start: &Start) -> Result<ResolvedStart> {
        let properties = self.hub.properties().await?;
        // The service does not tell its time. A group never begins before its hub was created, even if
        // the clocks disagree.
        let now = self.hub.runtime().wall();
        let at = properties.created.map_or(now, |created| created.max(now));
        let everywhere = |from: ReadFrom| {
            let place = |id: &PartitionId| (id.clone(), Checkpoint::Start(from));
            properties.partitions.iter().map(place).collect()
        };
        let partitions = match start {
            Start::Earliest => everywhere(ReadFrom::Earliest),
            Start::Time(time) => everywhere(ReadFrom::Time(*time)),
            Start::Latest => {
                futures::stream::iter(properties.partitions)
                    .map(|id| self.latest(id))
                    .buffered(SIDE_BY_SIDE)
                    .try_collect()
                    .await?
            }
            Start::Positions(named) => named
                .iter()
                .map(|(id, from)| match properties.partitions.contains(id) {
                    true => Ok((id.clone(), Checkpoint::Start(*from))),
                    false => Err(Error::new(
                        ErrorKind::NotFound,
                        format!("{}: no partition {id}", self.hub.shown),
                    )),
                })
                .collect::<Result<_>>()?,
        };
        Ok(ResolvedStart { at, partitions })
    }

    async fn created(&self) -> Result<Option<Timestamp>> {
        Ok(self.hub.properties().await?.created)
    }

    async fn tail(&self, partition: &PartitionId) -> Result<Tail> {
        let properties = self.hub.partition(partition).await?;
        let mut tail = Tail::at(last(&properties));
        // Sequence numbers have no gaps but those of compaction, where this is the most it can be.
        tail.consecutive = true;
        Ok(tail)
    }

    async fn open(&self, request: &OpenPartition) -> Result<Box<dyn PartitionReader>> {
        let reader = EventHubsReader::open(self.hub.clone(), request).await?;
        Ok(Box::new(reader))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Self::claims(),
            limits: Limits::default(),
        }
    }
}

/// Returns the position of the last event; `None` if there never was one.
fn last(properties: &PartitionProperties) -> Option<Position> {
    u64::try_from(properties.last).ok().map(Position::new)
}

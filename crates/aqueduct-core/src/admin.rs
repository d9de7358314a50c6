use std::time::Duration;

use async_trait::async_trait;

use crate::{GroupName, Partition, PartitionId, Result, StreamName, Timestamp};

/// Creates and describes a stream.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Creates the stream where it is missing; answers whether it did.
    async fn create(&self, spec: &StreamSpec) -> Result<bool>;

    /// What the stream is now.
    ///
    /// # Errors
    /// `NotFound` where it is missing.
    async fn describe(&self) -> Result<StreamDescription>;

    /// How far `group` is behind, a line for each partition; whether it runs or not.
    async fn lag(&self, group: &GroupName) -> Result<Vec<PartitionLag>>;

    /// Changes the number of open partitions by splitting or merging.
    ///
    /// # Errors
    /// `Unsupported` where the backend cannot.
    async fn reshard(&self, partitions: u32) -> Result<()>;

    /// Deletes the stream and everything in it.
    async fn delete(&self) -> Result<()>;
}

/// What a new stream shall be. `None` is the backend's own default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamSpec {
    /// The number of partitions.
    pub partitions: Option<u32>,
    /// How long events are kept.
    pub retention: Option<Duration>,
}

impl StreamSpec {
    /// A stream of that many partitions.
    pub fn with_partitions(partitions: u32) -> Self {
        Self {
            partitions: Some(partitions),
            ..Self::default()
        }
    }
}

/// What a stream is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamDescription {
    /// Its name.
    pub stream: StreamName,
    /// Its partitions, closed ones too.
    pub partitions: Vec<Partition>,
    /// How long events are kept, where that is limited.
    pub retention: Option<Duration>,
    /// When it was made, where the backend says so: a stream made anew is told by it.
    pub created: Option<Timestamp>,
}

impl StreamDescription {
    /// The description of a stream of those partitions.
    pub fn new(stream: StreamName, partitions: Vec<Partition>) -> Self {
        Self {
            stream,
            partitions,
            retention: None,
            created: None,
        }
    }
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: PartitionId,
    /// Events stored and not settled.
    pub events: u64,
    /// The age of the oldest of them.
    pub oldest: Option<Duration>,
}

use std::time::Duration;

use async_trait::async_trait;

use crate::{GroupName, Partition, PartitionId, Result, StreamName, Timestamp};

/// Creates and describes a stream.
///
/// ```
/// use aqueduct_core::{Admin, Result, StreamSpec};
///
/// async fn prepare(admin: &dyn Admin) -> Result<usize> {
///     if admin.create(&StreamSpec::with_partitions(4)).await? {
///         println!("created");
///     }
///     Ok(admin.describe().await?.partitions.len())
/// }
/// ```
#[async_trait]
pub trait Admin: Send + Sync {
    /// Creates the stream if it does not exist. Returns whether it did.
    ///
    /// # Errors
    /// `Invalid` for a specification that the backend cannot satisfy; `Denied`; `Full` at a quota;
    /// `Throttled`, `Unavailable` or `TimedOut`, after which the stream may exist.
    async fn create(&self, spec: &StreamSpec) -> Result<bool>;

    /// Returns the stream's current description.
    ///
    /// # Errors
    /// `NotFound` if it does not exist; `Denied`; `Throttled`, `Unavailable` or `TimedOut`.
    async fn describe(&self) -> Result<StreamDescription>;

    /// Returns the lag of `group` for each partition, whether its members run or not.
    ///
    /// # Errors
    /// `NotFound` if the stream does not exist; `Unsupported` if the backend cannot tell; `Denied`;
    /// `Throttled`, `Unavailable` or `TimedOut`.
    async fn lag(&self, group: &GroupName) -> Result<Vec<PartitionLag>>;

    /// Changes the number of open partitions by splitting or merging.
    ///
    /// # Errors
    /// `Unsupported` if the backend cannot; `Invalid` for a number out of its range; `NotFound` if the stream
    /// does not exist; `Conflict` while it is being changed; `Denied`; `Throttled`, `Unavailable` or
    /// `TimedOut`, after which the change may go on.
    async fn reshard(&self, partitions: u32) -> Result<()>;

    /// Deletes the stream and everything in it.
    ///
    /// # Errors
    /// `NotFound` if it does not exist; `Denied`; `Throttled`, `Unavailable` or `TimedOut`, after which it
    /// may be deleted.
    async fn delete(&self) -> Result<()>;
}

/// The specification of a new stream. `None` is the backend's own default.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_core::StreamSpec;
///
/// let mut spec = StreamSpec::with_partitions(4);
/// spec.retention = Some(Duration::from_secs(7 * 24 * 3600));
/// assert_eq!(spec.partitions, Some(4));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamSpec {
    /// The number of partitions.
    pub partitions: Option<u32>,
    /// How long events are kept.
    pub retention: Option<Duration>,
}

impl StreamSpec {
    /// Returns the specification of a stream of that many partitions.
    pub fn with_partitions(partitions: u32) -> Self {
        Self {
            partitions: Some(partitions),
            ..Self::default()
        }
    }
}

/// The description of a stream.
///
/// ```
/// use aqueduct_core::{PartitionState, StreamDescription};
///
/// fn open_partitions(described: &StreamDescription) -> usize {
///     let open = |it: &&aqueduct_core::Partition| it.state == PartitionState::Open;
///     described.partitions.iter().filter(open).count()
/// }
/// assert_eq!(open_partitions(&StreamDescription::new("orders".into(), Vec::new())), 0);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamDescription {
    /// Its name.
    pub stream: StreamName,
    /// Its partitions, closed ones too.
    pub partitions: Vec<Partition>,
    /// How long events are kept; `None` without a limit.
    pub retention: Option<Duration>,
    /// When it was created; `None` if the backend does not say.
    pub created: Option<Timestamp>,
}

impl StreamDescription {
    /// Returns the description of a stream of those partitions.
    pub fn new(stream: StreamName, partitions: Vec<Partition>) -> Self {
        Self {
            stream,
            partitions,
            retention: None,
            created: None,
        }
    }
}

/// The lag of a group in one partition.
///
/// ```
/// use aqueduct_core::{Admin, PartitionLag, Result};
///
/// async fn behind(admin: &dyn Admin) -> Result<u64> {
///     let lag: Vec<PartitionLag> = admin.lag(&"billing".into()).await?;
///     Ok(lag.iter().map(|partition| partition.events).sum())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: PartitionId,
    /// The number of events that are stored and not settled.
    pub events: u64,
    /// The age of the oldest of them; `None` if there are none, or the backend does not say.
    pub oldest: Option<Duration>,
}

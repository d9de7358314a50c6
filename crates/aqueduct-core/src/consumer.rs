use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Assignment, Capabilities, Checkpoint, Delivery, Error, Instant, PartitionId, Position, Result,
    Revocation, SmallStr, StreamName,
};

/// Receives the events of one stream for one group.
///
/// `aqueduct-group` makes one of a log and a lease store, `aqueduct-queue` of a queue service.
#[async_trait]
pub trait BatchConsumer: Send + Sync {
    /// Waits for one delivery, then returns up to `max` (at least 1) that are there. An empty
    /// batch means that the consumer has ended: drained, closed, or a finite stream read through.
    ///
    /// Consecutive events of one key may come together, in order; while they are unsettled no
    /// later event of that key goes to another receiver. Cancel safe: what was received before a
    /// cancellation comes with the next call, without a further attempt.
    ///
    /// # Errors
    /// `Closed` after [`close`](Self::close); `Unavailable`, `Throttled` or `TimedOut` if receiving again may
    /// help; `Denied` or `NotFound` if the service refuses to serve the stream; `PositionExpired` if retention
    /// removed events that were not handled. After a retryable one the next call goes on; nothing is lost.
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>>;

    /// Stops fetching and keeps the right to settle what is out; then `receive_batch` returns
    /// an empty batch.
    ///
    /// # Errors
    /// `Unavailable`, `Throttled` or `TimedOut` if the service could not be told; draining again may help.
    async fn drain(&self) -> Result<()>;

    /// Commits what is settled and waits until that is durable.
    ///
    /// # Errors
    /// `Revoked` if a partition was lost before its settlements could be committed; `Closed` after
    /// [`close`](Self::close); `Unavailable`, `Throttled` or `TimedOut` while the store or service cannot be
    /// reached: what is not committed comes again.
    async fn flush(&self) -> Result<()>;

    /// Commits, gives up every partition, and ends: deliveries still out are revoked. Closing
    /// twice is closing once.
    ///
    /// # Errors
    /// Any error of the last commit, and one for each lease that the store did not confirm as given up, since
    /// other members wait until it expires. The consumer is closed all the same.
    async fn close(&self) -> Result<()>;

    /// Holds back deliveries, or lets them flow again; leases are kept.
    fn pause(&self, paused: bool);

    /// Returns the capabilities as opened.
    fn capabilities(&self) -> Capabilities;

    /// Returns the status, for health, readiness and lag.
    fn status(&self) -> ConsumerStatus;
}

/// The status of a consumer.
///
/// ```
/// use aqueduct_core::ConsumerStatus;
///
/// fn lag(status: &ConsumerStatus) -> u64 {
///     status.partitions.iter().filter_map(|partition| partition.lag_events).sum()
/// }
/// assert_eq!(lag(&ConsumerStatus::default()), 0);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// The partitions that it owns now; empty for queues without partitions.
    pub partitions: Vec<PartitionStatus>,
    /// When the lease store or service became unreachable; `None` while it is reachable.
    pub unreachable_since: Option<Instant>,
    /// Whether it is paused.
    pub paused: bool,
}

/// The status of one owned partition.
///
/// ```
/// use aqueduct_core::{Checkpoint, PartitionStatus, ReadFrom};
///
/// let start = Checkpoint::Start(ReadFrom::Earliest);
/// let status = PartitionStatus::new("orders".into(), "0".into(), 1, start);
/// assert_eq!((status.unsettled, status.lag_events), (0, None));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// The stream.
    pub stream: StreamName,
    /// The partition.
    pub partition: PartitionId,
    /// The generation that owns it.
    pub generation: u64,
    /// All up to here is settled.
    pub ack_floor: Checkpoint,
    /// Events delivered and not settled.
    pub unsettled: usize,
    /// Bytes of those events, about.
    pub unsettled_bytes: usize,
    /// Events held behind failing keys.
    pub parked: usize,
    /// Events stored and not settled; `None` if the log cannot count them.
    pub lag_events: Option<u64>,
    /// How far reading is behind in time; `None` if the log does not report it.
    pub lag_time: Option<Duration>,
    /// How long the oldest unsettled event has been out.
    pub oldest_unsettled: Option<Duration>,
    /// Which key keeps the partition from fetching.
    pub blocked_by: Option<BlockedBy>,
    /// Whether it runs suspects one at a time after a crash.
    pub isolated: bool,
    /// The error of reads that keep failing; `None` while reading works.
    pub read_failure: Option<ReadFailure>,
}

impl PartitionStatus {
    /// The status of a partition of which nothing was read yet.
    pub fn new(
        stream: StreamName,
        partition: PartitionId,
        generation: u64,
        ack_floor: Checkpoint,
    ) -> Self {
        Self {
            stream,
            partition,
            generation,
            ack_floor,
            unsettled: 0,
            unsettled_bytes: 0,
            parked: 0,
            lag_events: None,
            lag_time: None,
            oldest_unsettled: None,
            blocked_by: None,
            isolated: false,
            read_failure: None,
        }
    }
}

/// Reads of a partition that keep failing.
#[derive(Clone, Debug)]
pub struct ReadFailure {
    /// The last error.
    pub error: Error,
    /// When reads began to fail.
    pub since: Instant,
}

/// The key that keeps a partition from fetching.
///
/// ```
/// use aqueduct_core::PartitionStatus;
///
/// fn warning(status: &PartitionStatus) -> Option<String> {
///     let blocked = status.blocked_by.as_ref()?;
///     let key = blocked.key.as_ref().map_or("-", |key| key.as_str());
///     Some(format!("{}: key {key} is stuck at {}", status.partition, blocked.position))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedBy {
    /// The key, where the event has one.
    pub key: Option<SmallStr>,
    /// The position of its first unsettled event.
    pub position: Position,
    /// When the partition stopped fetching.
    pub since: Instant,
}

/// Receives the assignments and revocations of partitions.
///
/// ```
/// use aqueduct_core::{Assignment, Checkpoint, RebalanceListener, Revocation};
/// use async_trait::async_trait;
///
/// /// Keeps a cache for each partition that this member owns.
/// struct Caches;
///
/// #[async_trait]
/// impl RebalanceListener for Caches {
///     async fn assigned(&self, assignment: &Assignment, start: &Checkpoint) {
///         println!("{:?} from {start}", assignment.partition);
///     }
///
///     async fn revoked(&self, assignment: &Assignment, why: Revocation) {
///         println!("{:?} is gone: {}", assignment.partition, why.as_str());
///     }
/// }
/// ```
#[async_trait]
pub trait RebalanceListener: Send + Sync {
    /// A partition was assigned and is read from `start` on; awaited before the first delivery.
    async fn assigned(&self, assignment: &Assignment, start: &Checkpoint);

    /// A partition is about to go (handed off, shutdown: what is settled now is still committed)
    /// or is gone (lost, ended).
    async fn revoked(&self, assignment: &Assignment, why: Revocation);
}

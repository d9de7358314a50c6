use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Capabilities, Event, GroupName, PartitionId, Position, Result, SmallStr, StreamName, Timestamp,
};

/// A stream made of partitions with positions.
#[async_trait]
pub trait PartitionedLog: Send + Sync {
    /// The name of the stream.
    fn stream(&self) -> &StreamName;

    /// Every partition that holds, or held, events: closed ones too, while they are listed.
    async fn partitions(&self) -> Result<Vec<Partition>>;

    /// Turns a start into places that do not move: a position for each partition where there is
    /// one, else the server's time.
    async fn resolve(&self, start: &Start) -> Result<ResolvedStart>;

    /// When the stream was made, by the clock that [`resolve`](Self::resolve) answers; `None` where
    /// the service does not say. A stream that was made after a group began is another one of the
    /// same name, and the group's places mean nothing in it.
    async fn created(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// The end of a partition now, for lag.
    async fn tail(&self, partition: &PartitionId) -> Result<Tail>;

    /// Opens a partition for a group.
    ///
    /// # Errors
    /// `PositionExpired` (also from the reader) where retention has removed the place;
    /// `NotFound` for an unknown partition.
    async fn open(&self, request: &OpenPartition) -> Result<Box<dyn PartitionReader>>;

    /// What the log can do, as opened.
    fn capabilities(&self) -> Capabilities;
}

/// Reads one partition in order.
#[async_trait]
pub trait PartitionReader: Send {
    /// Waits for records, at most for the request's `max_wait`, and answers those that are there,
    /// up to `max_events`. Cancel safe: what was fetched before a cancellation comes with the next
    /// call. After an error the next call goes on behind the last record answered.
    async fn read(&mut self, max_events: usize) -> Result<ReadBatch>;
}

/// One partition of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its name.
    pub id: PartitionId,
    /// Whether it still takes events.
    pub state: PartitionState,
    /// The partitions that it was made of; some may be gone.
    pub parents: Vec<PartitionId>,
    /// The part of the key space that it takes, where the backend has one.
    pub range: Option<HashRange>,
    /// The first position still kept, where the backend tells it.
    pub earliest: Option<Position>,
}

impl Partition {
    /// An open partition without parents.
    pub fn new(id: PartitionId) -> Self {
        Self {
            id,
            state: PartitionState::Open,
            parents: Vec::new(),
            range: None,
            earliest: None,
        }
    }
}

/// Whether a partition still takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// It takes events.
    Open,
    /// It was split or merged: what it holds can be read to its end.
    Closed,
}

/// An inclusive range of the 128-bit key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashRange {
    /// The first hash of the range.
    pub first: u128,
    /// The last hash of the range.
    pub last: u128,
}

impl HashRange {
    /// Whether `hash` lies in the range.
    pub fn contains(self, hash: u128) -> bool {
        (self.first..=self.last).contains(&hash)
    }
}

/// Where a group, or a reader, begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event kept.
    Earliest,
    /// With the next event of the partitions open now.
    Latest,
    /// With the first event stored at or after that time.
    Time(Timestamp),
    /// With those places; partitions not named begin at the oldest event kept.
    Positions(Vec<(PartitionId, ReadFrom)>),
}

/// Where a start lies, in places that do not move. Partitions not named begin at the oldest event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedStart {
    /// The server's time of the resolution.
    pub at: Timestamp,
    /// A place for each partition that was there.
    pub partitions: Vec<(PartitionId, Checkpoint)>,
}

/// Where a reader begins in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadFrom {
    /// With the oldest event kept.
    Earliest,
    /// With the first event stored at or after that time.
    Time(Timestamp),
    /// With that position, itself included.
    At(Position),
    /// Behind that position.
    After(Position),
}

/// How far a partition is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checkpoint {
    /// Nothing is settled yet: it begins there.
    Start(ReadFrom),
    /// All up to that position, itself included.
    At(Position),
    /// All, to the end of a closed partition.
    End,
}

impl Checkpoint {
    /// Where reading goes on, `None` where there is nothing left.
    pub fn read_from(self) -> Option<ReadFrom> {
        match self {
            Self::Start(from) => Some(from),
            Self::At(position) => Some(ReadFrom::After(position)),
            Self::End => None,
        }
    }
}

/// How to open a partition.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenPartition {
    /// The group that reads.
    pub group: GroupName,
    /// The partition.
    pub partition: PartitionId,
    /// Where to begin.
    pub from: ReadFrom,
    /// The owner's generation: a reader of a higher one displaces this one where the service can.
    pub generation: u64,
    /// How many bytes a fetch may bring, about; at least one event comes.
    pub max_bytes: usize,
    /// How long a read waits for records before it answers without.
    pub max_wait: Duration,
}

impl OpenPartition {
    /// Opens `partition` at `from`, with 1 MiB a fetch and a wait of a second.
    pub fn new(group: GroupName, partition: PartitionId, from: ReadFrom) -> Self {
        Self {
            group,
            partition,
            from,
            generation: 0,
            max_bytes: 1 << 20,
            max_wait: Duration::from_secs(1),
        }
    }
}

/// What one read brought.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ReadBatch {
    /// The records, in order; none where the wait ended first.
    pub records: Vec<Record>,
    /// Set when the partition is closed and read to its end.
    pub end: Option<PartitionEnd>,
    /// The end of the partition as the service told it with this read.
    pub tail: Option<Tail>,
}

/// One stored event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// The event.
    pub event: Event,
    /// Its place.
    pub position: Position,
    /// When the backend stored it, where it says so.
    pub stored_at: Option<Timestamp>,
}

impl Record {
    /// The record of `event` at `position`.
    pub fn new(event: Event, position: Position, stored_at: Option<Timestamp>) -> Self {
        Self {
            event,
            position,
            stored_at,
        }
    }
}

/// The end of a closed partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionEnd {
    /// The partitions that go on with its keys.
    pub children: Vec<PartitionId>,
}

/// The end of a partition at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tail {
    /// The last position stored; `None` where it is empty or unknown.
    pub last: Option<Position>,
    /// Events behind the reader, where the service counts them.
    pub events_behind: Option<u64>,
    /// How far the reader is behind, where the service tells it.
    pub time_behind: Option<Duration>,
}

impl Tail {
    /// The tail at that last position.
    pub fn at(last: Option<Position>) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }
}

/// A place in several words, for logs and errors.
impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(ReadFrom::Earliest) => f.write_str("earliest"),
            Self::Start(ReadFrom::Time(time)) => write!(f, "time:{time}"),
            Self::Start(ReadFrom::At(position)) => write!(f, "from:{position}"),
            Self::Start(ReadFrom::After(position)) => write!(f, "after:{position}"),
            Self::At(position) => write!(f, "at:{position}"),
            Self::End => f.write_str("end"),
        }
    }
}

impl std::str::FromStr for Checkpoint {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            crate::Error::new(
                crate::ErrorKind::Corrupt,
                format!(
                    "`{text}` is no checkpoint: earliest, time:T, from:P, after:P, at:P or end"
                ),
            )
        };
        match text.split_once(':') {
            None if text == "earliest" => Ok(Self::Start(ReadFrom::Earliest)),
            None if text == "end" => Ok(Self::End),
            Some(("time", time)) => Ok(Self::Start(ReadFrom::Time(time.parse()?))),
            Some(("from", position)) => Ok(Self::Start(ReadFrom::At(position.parse()?))),
            Some(("after", position)) => Ok(Self::Start(ReadFrom::After(position.parse()?))),
            Some(("at", position)) => Ok(Self::At(position.parse()?)),
            _ => Err(refuse()),
        }
    }
}

/// The text of a group and stream together names a set of leases.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey {
    /// The group.
    pub group: GroupName,
    /// The stream that it reads.
    pub stream: StreamName,
}

impl GroupKey {
    /// The key of `group` on `stream`.
    pub fn new(group: impl Into<SmallStr>, stream: impl Into<SmallStr>) -> Self {
        Self {
            group: GroupName::new(group),
            stream: StreamName::new(stream),
        }
    }
}

impl std::fmt::Display for GroupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "group {} on stream {}", self.group, self.stream)
    }
}

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Capabilities, Event, GroupName, PartitionId, Position, Result, ResumeToken, SmallStr, StreamId,
    StreamName, Timestamp,
};

/// A stream made of partitions with positions.
///
/// # Errors
/// Every method returns `Unavailable`, `Throttled` or `TimedOut` if the service cannot serve it now,
/// `Denied` if access is refused, and `NotFound` if the stream is missing. None of them changes
/// anything, so each may be called again.
#[async_trait]
pub trait PartitionedLog: Send + Sync {
    /// The name of the stream.
    fn stream(&self) -> &StreamName;

    /// Returns every partition that holds or held events, including closed ones while the service
    /// lists them.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn partitions(&self) -> Result<Vec<Partition>>;

    /// Resolves a start to fixed places: a position for each partition that has one, otherwise the
    /// server's time.
    ///
    /// # Errors
    /// `NotFound` for a partition that the start names and the stream lacks; `Unsupported` for a start
    /// that the service cannot resolve.
    async fn resolve(&self, start: &Start) -> Result<ResolvedStart>;

    /// Returns when the stream was created, as the service reports it; `None` if it does not.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn created(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// Returns the identity of the stream; `None` if it has none. A group stores it: in a stream with
    /// another identity its positions mean nothing.
    ///
    /// A backend that can tell streams of the same name apart by more than the time of their creation
    /// overrides this. Identities are compared for equality alone, so a clock that was wrong when the
    /// stream was created does no harm.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn stream_id(&self) -> Result<Option<StreamId>> {
        let created = self.created().await?;
        Ok(created.map(|created| StreamId::new(format!("created {created}"))))
    }

    /// Returns the current end of a partition, for lag.
    ///
    /// # Errors
    /// `NotFound` for an unknown partition.
    async fn tail(&self, partition: &PartitionId) -> Result<Tail>;

    /// Opens a partition for a group.
    ///
    /// # Errors
    /// `PositionExpired` (also from the reader) if retention has removed the place; `NotFound` for an
    /// unknown partition; `Invalid` for a place that needs a resume token and comes without, or with
    /// one of another log; `Revoked` (also from the reader) if a reader of a higher generation is open.
    /// Any of them may also come with the first read.
    async fn open(&self, request: &OpenPartition) -> Result<Box<dyn PartitionReader>>;

    /// Returns the capabilities of the log as opened.
    fn capabilities(&self) -> Capabilities;
}

/// Reads one partition in order.
#[async_trait]
pub trait PartitionReader: Send {
    /// Waits for records for at most the request's `max_wait`, and returns those that are there, up
    /// to `max_events`. Cancel safe: records fetched before a cancellation come with the next
    /// call. After an error the next call resumes after the last record returned.
    ///
    /// # Errors
    /// Those of [`PartitionedLog::open`]; `Unavailable`, `Throttled` or `TimedOut` if reading again may
    /// help; `Corrupt` if the service's response cannot be read. A record that cannot be decoded is no
    /// error: it comes as an event of the type [`Event::DAMAGED`].
    async fn read(&mut self, max_events: usize) -> Result<ReadBatch>;
}

/// One partition of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its name.
    pub id: PartitionId,
    /// Whether it still accepts events.
    pub state: PartitionState,
    /// The partitions that it was split or merged from; some may be gone.
    pub parents: Vec<PartitionId>,
    /// The part of the key space that it covers, if the backend has one.
    pub range: Option<HashRange>,
    /// The first position still kept, if the backend reports it.
    pub earliest: Option<Position>,
}

impl Partition {
    /// Creates an open partition without parents.
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

/// Whether a partition still accepts events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// It accepts events.
    Open,
    /// It was split or merged, and can be read to its end.
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
    /// Returns whether `hash` lies in the range.
    pub fn contains(self, hash: u128) -> bool {
        (self.first..=self.last).contains(&hash)
    }
}

/// Where a group, or a reader, begins.
///
/// ```
/// use aqueduct_core::{Start, Timestamp};
///
/// let since_midnight = Start::Time(Timestamp::from_millis(1_700_006_400_000));
/// assert_ne!(since_midnight, Start::Latest);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event kept.
    Earliest,
    /// With the next event of the partitions open now.
    Latest,
    /// With the first event stored at or after that time.
    Time(Timestamp),
    /// At these places; partitions that are not named begin with the oldest event kept.
    Positions(Vec<(PartitionId, ReadFrom)>),
}

/// A start resolved to fixed places. Partitions that are not named begin with the oldest event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedStart {
    /// The server's time of the resolution.
    pub at: Timestamp,
    /// A place for each partition that existed then.
    pub partitions: Vec<(PartitionId, Checkpoint)>,
}

/// Where a reader begins in its partition.
///
/// ```
/// use aqueduct_core::{ReadFrom, Start, Timestamp};
///
/// // One partition from a time on, the others from the oldest event kept.
/// let from = ReadFrom::Time(Timestamp::from_millis(1_700_000_000_000));
/// let start = Start::Positions(vec![("0".into(), from)]);
/// assert_ne!(start, Start::Earliest);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadFrom {
    /// With the oldest event kept.
    Earliest,
    /// With the first event stored at or after that time.
    Time(Timestamp),
    /// With that position, itself included.
    At(Position),
    /// After that position.
    After(Position),
}

/// How far a partition is settled.
///
/// ```
/// use aqueduct_core::{Checkpoint, ReadFrom};
///
/// let start: Checkpoint = "earliest".parse()?;
/// assert_eq!(start.read_from(), Some(ReadFrom::Earliest));
/// assert_eq!(Checkpoint::End.read_from(), None);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checkpoint {
    /// Nothing is settled yet; reading begins there.
    Start(ReadFrom),
    /// Everything up to and including that position.
    At(Position),
    /// Everything, to the end of a closed partition.
    End,
}

impl Checkpoint {
    /// Returns where reading resumes; `None` if nothing is left.
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
    /// The token of the record at `from`, if `from` follows a record that had one. A service that
    /// resumes by token begins there; `from` still orders what it delivers.
    pub resume_token: Option<ResumeToken>,
    /// The owner's generation: a reader of a higher one displaces this one if the service can do
    /// that.
    pub generation: u64,
    /// About how many bytes a fetch may return; at least one event comes.
    pub max_bytes: usize,
    /// How long a read waits for records before it returns none.
    pub max_wait: Duration,
}

impl OpenPartition {
    /// Creates a request to open `partition` at `from`, with 1 MiB per fetch and a wait of one
    /// second.
    pub fn new(group: GroupName, partition: PartitionId, from: ReadFrom) -> Self {
        Self {
            group,
            partition,
            from,
            resume_token: None,
            generation: 0,
            max_bytes: 1 << 20,
            max_wait: Duration::from_secs(1),
        }
    }
}

/// The result of one read.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ReadBatch {
    /// The records, in order; empty if the wait ended first.
    pub records: Vec<Record>,
    /// Set when the partition is closed and read to its end.
    pub end: Option<PartitionEnd>,
    /// The end of the partition, if the service reported it with this read.
    pub tail: Option<Tail>,
    /// The server's time to which `tail` belongs, if the backend knows it: everything stored before is
    /// covered. Otherwise the engine takes this machine's time at the beginning of the read.
    pub tail_at: Option<Timestamp>,
}

/// One stored event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// The event.
    pub event: Event,
    /// Its position.
    pub position: Position,
    /// When the backend stored it, if it reports that.
    pub stored_at: Option<Timestamp>,
    /// The token to resume from after this record, if the service does not resume by position.
    pub resume_token: Option<ResumeToken>,
}

impl Record {
    /// Creates the record of `event` at `position`, without a resume token.
    pub fn new(event: Event, position: Position, stored_at: Option<Timestamp>) -> Self {
        Self {
            event,
            position,
            stored_at,
            resume_token: None,
        }
    }

    /// Sets the token from which a reader resumes after this record.
    #[must_use]
    pub fn with_resume_token(mut self, token: ResumeToken) -> Self {
        self.resume_token = Some(token);
        self
    }
}

/// The end of a closed partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionEnd {
    /// The partitions that continue its keys.
    pub children: Vec<PartitionId>,
}

/// The end of a partition at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tail {
    /// The last position stored; `None` if the partition is empty or the position unknown.
    pub last: Option<Position>,
    /// How many events the reader is behind, if the service counts them.
    pub events_behind: Option<u64>,
    /// How far the reader is behind in time, if the service reports it.
    pub time_behind: Option<Duration>,
    /// Whether each event has the position after the one before it, so that the difference of two positions
    /// is a number of events.
    pub consecutive: bool,
}

impl Tail {
    /// Creates the tail that ends at `last`.
    pub fn at(last: Option<Position>) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }
}

/// The text form: `earliest`, `time:T`, `from:P`, `after:P`, `at:P` or `end`.
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
                    "invalid checkpoint `{text}` (expected earliest, time:T, from:P, after:P, at:P or end)"
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

/// A group and the stream that it reads: the key of a set of leases.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey {
    /// The group.
    pub group: GroupName,
    /// The stream that it reads.
    pub stream: StreamName,
}

impl GroupKey {
    /// Creates the key of `group` on `stream`.
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

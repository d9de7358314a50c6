use async_trait::async_trait;

use crate::{
    Checkpoint, GroupKey, HashRange, OwnerId, PartitionId, Position, ResolvedStart, Result,
    ResumeToken, SmallStr, StreamId, Timestamp,
};

/// Stores who owns which partition, and how far it is settled.
///
/// Writes are conditional on the row's owner, generation and counter; a request for a hand-off
/// changes none of these, so it never makes the owner's write fail. Each write carries a nonce: an
/// owner whose response was lost re-reads the row and recognises its own write by the nonce. A
/// failed call with `Effect::Unknown` may have been applied.
///
/// A store of rows implements [`LeaseRows`](crate::lease_rows::LeaseRows) instead, which has fewer
/// methods and leaves the rules to [`RowLeases`](crate::lease_rows::RowLeases).
///
/// # Errors
/// Every method returns `Unavailable`, `Throttled` or `TimedOut` if the store cannot be reached now,
/// `Denied` if access is refused, `NotFound` if its table or stream is missing, `Full` if there is no
/// room, and `Corrupt` for a row that cannot be read. A lost race is not an error: it is
/// [`Swap::Lost`].
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Returns every lease of the group. Rows of `known` whose version is unchanged may be returned
    /// from there instead of being read again.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn list(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>>;

    /// Returns one lease as stored now.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn read(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>>;

    /// Stores `lease` if its partition has none, and returns what is stored then.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn create(&self, key: &GroupKey, lease: Lease) -> Result<Lease>;

    /// Replaces `current` by `next`: take, release or transfer. Compares owner, generation and
    /// counter. Keeps a `wanted_by` that changed since `current` was read, unless `next` changes the
    /// owner. A transfer to the member that asked is lost if it has withdrawn its request since.
    ///
    /// # Errors
    /// `Invalid` if the two are of different partitions.
    async fn swap(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap>;

    /// Renews and commits in one write: like `swap`, by the owner, with the same owner and
    /// generation. Two writes if a foreign layout needs them.
    ///
    /// # Errors
    /// `Invalid` if owner, generation or partition differ.
    async fn commit(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap>;

    /// Asks the owner of `lease` to hand it off to `by`. Does nothing if another member asked first
    /// or the generation changed. Returns the row as it stands then.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn request(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>>;

    /// Withdraws the request of `by`, which is about to leave. Does nothing if `by` has not asked
    /// for this generation. Returns the row as it stands then: its owner may be `by` already, which
    /// must release it.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn withdraw(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>>;

    /// Deletes `lease` if it is unchanged. Returns `Lost(None)` if it is gone already.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn delete(&self, key: &GroupKey, lease: &Lease) -> Result<Swap>;

    /// Returns the record of the group as a whole.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>>;

    /// Stores `record` if there is none, and returns the stored one.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn create_group(&self, key: &GroupKey, record: GroupRecord) -> Result<GroupRecord>;

    /// Resets a group while it is offline: replaces its record and deletes its leases in one step,
    /// if the record still has `expected_replay`. Returns the record stored then.
    ///
    /// # Errors
    /// `NotFound` if the group has no record.
    async fn reset_group(
        &self,
        key: &GroupKey,
        expected_replay: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord>;

    /// Announces a member before its first lease, for stores that can detect dead members.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn join(&self, owner: &OwnerId) -> Result<()>;

    /// Withdraws the announcement.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn leave(&self, owner: &OwnerId) -> Result<()>;

    /// Whether the member's process is known to be gone. `false` if the store cannot tell. Never
    /// blocks for long.
    fn is_dead(&self, owner: &OwnerId) -> bool;
}

/// The owner of a partition, and how far the partition is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The partition.
    pub partition: PartitionId,
    /// `None` after a release.
    pub owner: Option<OwnerId>,
    /// Rises by one with each new owner.
    pub generation: u64,
    /// Rises with each write of the owner: a counter that stands still means an owner that does not
    /// renew.
    pub counter: u64,
    /// The member that asked for a hand-off.
    pub wanted_by: Option<OwnerId>,
    /// How far the partition is settled.
    pub checkpoint: Checkpoint,
    /// Where the service resumes behind the checkpoint, if it does not resume by position.
    pub resume_token: Option<ResumeToken>,
    /// The server's time at which the checkpoint was known to cover everything stored until then;
    /// `None` if the group has not caught up since the checkpoint moved. A later expired position
    /// is not a gap while this time is within the retention.
    pub caught_up_at: Option<Timestamp>,
    /// The highest position handed out before the last commit.
    pub handed_out: Option<Position>,
    /// The attempts at the event behind the checkpoint.
    pub attempts: Option<StoredAttempts>,
    /// How often the lease was taken without a release since the checkpoint last moved.
    pub unclean: u32,
    /// The partitions that must be settled before this one starts.
    pub parents: Vec<PartitionId>,
    /// The partitions that continue this one, known at its end.
    pub children: Vec<PartitionId>,
    /// The part of the key space of the partition, for stores that keep it.
    pub range: Option<HashRange>,
    /// Random for each write, so that a writer recognises its own.
    pub nonce: u64,
    /// The store's version of the row, such as an ETag; empty if it has none.
    pub version: SmallStr,
}

impl Lease {
    /// Creates a lease without an owner, at `checkpoint`.
    pub fn new(partition: PartitionId, checkpoint: Checkpoint) -> Self {
        Self {
            partition,
            owner: None,
            generation: 0,
            counter: 0,
            wanted_by: None,
            checkpoint,
            resume_token: None,
            caught_up_at: None,
            handed_out: None,
            attempts: None,
            unclean: 0,
            parents: Vec::new(),
            children: Vec::new(),
            range: None,
            nonce: 0,
            version: SmallStr::default(),
        }
    }

    /// Whether a conditional write against `self` finds `stored` as it expects it.
    ///
    /// The nonce tells a row from one of the same counter that was deleted and created anew, over
    /// which a late write would restore an old checkpoint.
    pub fn is_same_row(&self, stored: &Self) -> bool {
        self.owner == stored.owner
            && self.generation == stored.generation
            && self.counter == stored.counter
            && self.nonce == stored.nonce
    }
}

/// The attempts at one position, stored with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAttempts {
    /// The only position that they count for.
    pub position: Position,
    /// How many attempts have failed, or begun if `started` is set.
    pub count: u32,
    /// Set before the handler runs in isolation mode. Found set after a crash, it means that the
    /// attempt killed the process.
    pub started: bool,
}

/// The result of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Written; the row as it stands now.
    Swapped(Lease),
    /// Another writer changed the row first; the row as it stands, if there is one.
    Lost(Option<Lease>),
}

/// The record of a group as a whole, written once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupRecord {
    /// Where the group began.
    pub start: ResolvedStart,
    /// Rises with each reset.
    pub replay: u64,
    /// When the record was written.
    pub created: Timestamp,
    /// The identity of the stream whose positions the leases hold; `None` if the log has none, or the
    /// record was written before it was stored.
    pub stream_id: Option<StreamId>,
}

impl GroupRecord {
    /// Creates the record of a group that begins at `start`.
    pub fn new(start: ResolvedStart, replay: u64, created: Timestamp) -> Self {
        Self {
            start,
            replay,
            created,
            stream_id: None,
        }
    }

    /// Sets the identity of the stream.
    #[must_use]
    pub fn with_stream_id(mut self, stream: Option<StreamId>) -> Self {
        self.stream_id = stream;
        self
    }
}

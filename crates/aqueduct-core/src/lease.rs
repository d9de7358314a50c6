use async_trait::async_trait;

use crate::{
    Checkpoint, GroupKey, HashRange, OwnerId, PartitionId, Position, ResolvedStart, Result,
    SmallStr, Timestamp,
};

/// Stores who owns which partition, and how far it is settled.
///
/// Writes are conditional on the row's owner, generation and counter; a request for a hand-off
/// changes none of these, so that it never makes the owner's write fail. Each write carries a
/// nonce: an owner that lost an answer reads the row and knows its own hand. A failed call with
/// `Effect::Unknown` may have been written.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Every lease of the group. Rows of `known` whose version stands unchanged may be answered
    /// from there instead of being read again.
    async fn list(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>>;

    /// One lease, as stored now.
    async fn read(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>>;

    /// Stores `lease` where there is none for its partition, and answers what is stored then.
    async fn create(&self, key: &GroupKey, lease: Lease) -> Result<Lease>;

    /// Replaces `current` by `next`: take, release, transfer. Compares owner, generation and
    /// counter; keeps a `wanted_by` that came meanwhile unless `next` changes owner.
    async fn swap(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap>;

    /// Renews and commits in one: like `swap`, by the owner, with the same owner and generation.
    /// Where a foreign layout needs two writes, it does both.
    async fn commit(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap>;

    /// Asks the owner of `lease` to hand it over to `by`; does nothing where another asked first
    /// or the generation moved on. Answers the row as it stands then.
    async fn request(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>>;

    /// Deletes `lease`, where it stands unchanged. `Lost(None)` where it is gone already.
    async fn delete(&self, key: &GroupKey, lease: &Lease) -> Result<Swap>;

    /// What was said of the group as a whole when it began.
    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>>;

    /// Stores `record` where there is none, and answers the one stored then.
    async fn create_group(&self, key: &GroupKey, record: GroupRecord) -> Result<GroupRecord>;

    /// Replaces the group's record and deletes its leases in one step, where the record still has
    /// `expected_replay`: an offline reset. Answers the record stored then.
    async fn reset_group(
        &self,
        key: &GroupKey,
        expected_replay: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord>;

    /// Announces a member, before its first lease: a store that can tell the dead from the slow
    /// prepares for it here.
    async fn join(&self, owner: &OwnerId) -> Result<()>;

    /// Takes back the announcement.
    async fn leave(&self, owner: &OwnerId) -> Result<()>;

    /// Whether that member is certainly dead: its process is gone. `false` where the store cannot
    /// tell. Never blocks for long.
    fn is_dead(&self, owner: &OwnerId) -> bool;
}

/// Who owns a partition, and how far it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The partition.
    pub partition: PartitionId,
    /// Its owner; `None` after a release.
    pub owner: Option<OwnerId>,
    /// Rises by one with each new owner.
    pub generation: u64,
    /// Rises with each write of the owner: while it stands still, nobody renews.
    pub counter: u64,
    /// Who asked for a hand-off.
    pub wanted_by: Option<OwnerId>,
    /// How far it is settled.
    pub checkpoint: Checkpoint,
    /// The highest position handed out before the last commit.
    pub handed_out: Option<Position>,
    /// The attempts at the event behind the checkpoint.
    pub attempts: Option<StoredAttempts>,
    /// How often the lease was taken without a release since the checkpoint last moved.
    pub unclean: u32,
    /// The partitions that must be settled before this one starts.
    pub parents: Vec<PartitionId>,
    /// The partitions that go on with it, known at its end.
    pub children: Vec<PartitionId>,
    /// The part of the key space that it takes, for stores that keep it.
    pub range: Option<HashRange>,
    /// Drawn anew for each write, so that a writer knows its own.
    pub nonce: u64,
    /// The store's own version of the row (an ETag); empty where it has none.
    pub version: SmallStr,
}

impl Lease {
    /// A lease that nobody owns, at `checkpoint`.
    pub fn new(partition: PartitionId, checkpoint: Checkpoint) -> Self {
        Self {
            partition,
            owner: None,
            generation: 0,
            counter: 0,
            wanted_by: None,
            checkpoint,
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
    pub fn is_same_row(&self, stored: &Self) -> bool {
        self.owner == stored.owner
            && self.generation == stored.generation
            && self.counter == stored.counter
    }
}

/// Attempts kept with a lease, for one position alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAttempts {
    /// The position that they count for, and no other.
    pub position: Position,
    /// How many attempts have failed, or begun where `started` is set.
    pub count: u32,
    /// Set before the handler runs in isolation mode: found set after a crash, that attempt killed
    /// the process.
    pub started: bool,
}

/// The answer of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Written; the row as it stands now.
    Swapped(Lease),
    /// Somebody else changed it first; the row as it stands, if it is there.
    Lost(Option<Lease>),
}

/// What is said of a group as a whole, once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupRecord {
    /// Where the group began.
    pub start: ResolvedStart,
    /// Rises with each reset.
    pub replay: u64,
    /// When the record was written.
    pub created: Timestamp,
}

impl GroupRecord {
    /// The record of a group that begins at `start`.
    pub fn new(start: ResolvedStart, replay: u64, created: Timestamp) -> Self {
        Self {
            start,
            replay,
            created,
        }
    }
}

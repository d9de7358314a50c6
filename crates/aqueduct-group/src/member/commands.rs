use aqueduct_core::{
    GroupRecord, Instant, Lease, OwnerId, Partition, PartitionId, Result, Revocation, Swap,
};

use crate::tracker::{Progress, Takeover};

/// An event outside the member.
#[derive(Debug)]
pub(crate) enum Input {
    /// Time passed, or the state of a partition changed.
    Tick,
    /// The response to [`Command::List`].
    Listed(Result<Listing>),
    /// The response to [`Command::Group`].
    Group(Result<Option<GroupRecord>>),
    /// The response to [`Command::Create`].
    Created(PartitionId, Result<Lease>),
    /// The response to [`Command::Write`].
    Written(PartitionId, u64, Result<Swap>),
    /// The response to [`Command::Read`].
    Read(PartitionId, u64, Result<Option<Lease>>),
    /// The response to [`Command::Request`].
    Requested(PartitionId, Result<Option<Lease>>),
    /// The response to [`Command::Delete`].
    Deleted(PartitionId, Result<Swap>),
    /// Commit what is settled; [`Command::Flushed`] with this number follows.
    Flush(u64),
    /// Give up all partitions; [`Command::Closed`] follows.
    Close,
}

/// The partitions of the stream, and the leases of the group.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) partitions: Vec<Partition>,
    pub(crate) leases: Vec<Lease>,
}

/// An action outside the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// List the partitions, then the leases; those are the known ones.
    List(Vec<Lease>),
    /// Read the group's record.
    Group,
    /// Create a lease.
    Create(Lease),
    /// Write a lease.
    Write {
        op: u64,
        kind: WriteKind,
        current: Box<Lease>,
        next: Box<Lease>,
    },
    /// Read a lease.
    Read(PartitionId, u64),
    /// Ask the owner of that lease for it.
    Request(Lease),
    /// Withdraw the request for that lease; the response is that of [`Command::Read`].
    Withdraw(Lease, u64),
    /// Delete a lease.
    Delete(Lease),

    /// Read the partition from now on.
    Open(Opening),
    /// The lease is ours until this time.
    Extended(PartitionId, Instant),
    /// This progress is durable.
    Committed(PartitionId, Progress),
    /// Stop fetching and handing out: the partition is about to go.
    Drain(PartitionId, Revocation),
    /// The partition is gone.
    Gone(PartitionId, Revocation),
    /// The flush of that number is done; or a partition was lost before its commit.
    Flushed { id: u64, lost: bool },
    /// All leases are given up except these, which will expire.
    Closed { kept: Vec<PartitionId> },
}

/// Which of the store's conditional writes to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    Swap,
    Commit,
}

/// A partition to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) lease: Lease,
    pub(crate) replay: u64,
    pub(crate) until: Instant,
}

impl Opening {
    /// Returns the traces of the owner before.
    pub(crate) fn takeover(&self) -> Takeover {
        let lease = &self.lease;
        let marked = lease.attempts.is_some_and(|attempts| attempts.started);
        Takeover {
            resume_token: lease.resume_token.clone(),
            attempts: lease.attempts,
            // A mark means that the last owner died in isolation mode, even if it
            // settled some events there: those before the cause do not clear it.
            isolated_until: lease
                .handed_out
                .filter(|_| lease.unclean >= 2 || lease.unclean >= 1 && marked),
            announce: lease.unclean >= 1,
        }
    }
}

/// The owned partitions, asked when a decision needs them.
pub(crate) trait Work {
    /// Returns the state of an open partition.
    fn snapshot(&mut self, partition: &PartitionId) -> Option<Snapshot>;
    /// Returns whether the next suspect of the partition is to run alone, rather than in a batch.
    fn needs_alone(&mut self, partition: &PartitionId) -> bool;
    /// Asks the process to stop handing out; returns whether no delivery is out any more.
    fn quiet(&mut self) -> bool;
    /// Lets the process hand out events again.
    fn release(&mut self);
    /// Chooses the next event to run alone, or the next batch, if there is one:
    /// [`Snapshot::mark`] says so. The mark counts as an attempt if `alone`.
    fn mark(&mut self, partition: &PartitionId, alone: bool) -> Option<Snapshot>;
    /// Turns the mark of the event that runs alone into one that counts for no event.
    fn keep_company(&mut self, partition: &PartitionId);
    /// Removes the mark of an event that no receiver took.
    fn withdraw(&mut self, partition: &PartitionId);
    /// Revokes all deliveries for good; returns the state of the partition after that.
    fn stop(&mut self, partition: &PartitionId, why: Revocation) -> Option<Snapshot>;
    /// Returns whether that member is certainly dead.
    fn is_dead(&self, owner: &OwnerId) -> bool;
}

/// Where an open partition stands.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) progress: Progress,
    /// Whether the next event may have to run alone, and a receiver waits for it.
    pub(crate) wants_mark: bool,
    /// Whether an event was chosen to run alone, and the progress, which marks it as started, must
    /// be durable before it is handed out.
    pub(crate) mark: bool,
    /// Whether an event was chosen to run alone and is not settled.
    pub(crate) alone: bool,
    /// Whether a mark that counts as an attempt is stored.
    pub(crate) marked: bool,
    /// Whether that event is marked and not handed out, and no receiver waits.
    pub(crate) unclaimed: bool,
    /// Whether no delivery is out that a hand-off should wait for.
    pub(crate) drained: bool,
    /// The partitions that continue its keys, once it is settled to its end.
    pub(crate) ended: Option<Vec<PartitionId>>,
}

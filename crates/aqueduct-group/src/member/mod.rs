//! One member of one group on one stream: a state machine without I/O, clock or randomness of its
//! own.
//!
//! ```text
//! free row ─take─> taking ─swapped─> open ──commit, renewal──┐
//!                                     │ ^────────────────────┘
//!        asked, closing, settled to the end │ deadline passed, row of another
//!                                     v     v
//!                       stopping ─final write─> gone
//! ```
//!
//! The driver carries out [`Command`]s and returns [`Input`]s; the state of the partitions
//! is asked of [`Work`] when it is needed. One write of a lease is under way at a time.

mod allowance;
mod alone;
mod balance;
mod commands;
mod doubt;
mod health;
mod leave;
mod lineage;
mod listings;
mod rows;
#[cfg(test)]
mod tests;
mod tick;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aqueduct_core::{
    GroupKey, GroupRecord, Instant, Lease, OwnerId, Partition, PartitionId, Revocation, Swap,
};

use self::allowance::Allowance;
use self::alone::{Alone, CLAIM_WITHIN};
pub(crate) use self::commands::{Command, Input, Listing, Opening, Snapshot, Work, WriteKind};
use self::health::Call;
use self::listings::Listings;
use crate::GroupOptions;
use crate::tracker::Progress;
pub(crate) use aqueduct_core::random::SplitMix64 as Rng;

/// The timings and limits of a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    pub(crate) life: Duration,
    pub(crate) renew_every: Duration,
    pub(crate) margin: Duration,
    pub(crate) commit_interval: Duration,
    pub(crate) commit_min: Duration,
    pub(crate) commit_count: usize,
    pub(crate) drain: Duration,
    pub(crate) max_partitions: usize,
}

impl Timings {
    pub(crate) fn new(options: &GroupOptions) -> Self {
        Self {
            life: options.lease_ttl,
            renew_every: options.renew_every,
            margin: options.lease_margin,
            commit_interval: options.commit_interval,
            commit_min: options.commit_min,
            commit_count: options.commit_count,
            drain: options.drain,
            max_partitions: options.max_partitions.unwrap_or(usize::MAX),
        }
    }

    /// How long a lease is held that is not renewed: its life without the margin.
    fn held(&self) -> Duration {
        self.life.saturating_sub(self.margin)
    }

    /// How long a partition is open before its suspects run alone: longer than a process lives that is
    /// killed again and again from outside. A second is enough, however long the leases last.
    fn settle_in(&self) -> Duration {
        (self.life / 30).min(Duration::from_secs(1))
    }

    /// How long one call to the store may take.
    pub(crate) fn call_limit(&self) -> Duration {
        call_limit(self.life)
    }
}

/// How long one call to the store may take where leases live that long.
pub(crate) fn call_limit(life: Duration) -> Duration {
    (life / 4).max(Duration::from_millis(50))
}

/// A member of a group.
pub(crate) struct Member {
    identity: Identity,
    steps: Steps,
    table: Table,
    owned: BTreeMap<PartitionId, Owned>,
    asks: Asks,
    listings: Listings,
    alone: Alone,
    ending: Ending,
}

struct Identity {
    timings: Timings,
    /// Used in messages: a process may have many members.
    key: GroupKey,
    owner: OwnerId,
}

/// The time, chance and numbers of the steps.
struct Steps {
    last_tick: Instant,
    /// When the next step over all partitions is due.
    wake: Instant,
    rng: Rng,
    ops: u64,
    /// Whether leases became free: the next step takes a share of them.
    balance_due: bool,
}

/// The stream and its leases, as the log and the store last showed them.
struct Table {
    group: GroupState,
    partitions: BTreeMap<PartitionId, Partition>,
    rows: BTreeMap<PartitionId, Row>,
    creating: BTreeSet<PartitionId>,
    create_at: Instant,
    deleting: BTreeSet<PartitionId>,
    /// The generations that were open here and were lost, to recognise them.
    lost: BTreeMap<PartitionId, u64>,
}

/// The record of the group.
struct GroupState {
    record: GroupRecord,
    /// Whether it was read since leases were last missing: a reset replaces it.
    fresh: bool,
    asking: bool,
}

/// The hand-offs that this member asked for.
#[derive(Default)]
struct Asks {
    open: BTreeMap<PartitionId, Ask>,
    /// When each partition was last asked for, so that no owner is asked again too soon (rule 6).
    recent: BTreeMap<PartitionId, Instant>,
    /// Requests in progress: a member that closes waits for them, to withdraw them.
    sent: usize,
}

/// The state of flushes and of closing.
#[derive(Default)]
struct Ending {
    flushes: Vec<Flush>,
    closing: bool,
    /// Leases that could not be given up in time.
    kept: BTreeSet<PartitionId>,
    closed: bool,
}

/// A lease as last read from the store, and since when it is unchanged.
#[derive(Clone, Debug)]
struct Row {
    lease: Lease,
    since: Instant,
}

/// A partition that is ours, or being taken.
#[derive(Debug)]
struct Owned {
    lease: Lease,
    /// When it counts as lost unless renewed; `None` before the first successful write.
    deadline: Option<Instant>,
    pending: Option<Pending>,
    retry: Retry,
    writes: Writes,
    flush: FlushMarks,
    /// When it was first seen settled to its end.
    ended_since: Option<Instant>,
    stop: Option<Stop>,
}

/// The back-off of a partition's writes.
#[derive(Debug)]
struct Retry {
    at: Instant,
    failures: u32,
    /// Writes that were refused in a row although the row is ours.
    refused: u32,
}

/// When a partition's next write is due.
#[derive(Debug)]
struct Writes {
    last_sent: Instant,
    renew_at: Instant,
    allowance: Allowance,
    /// No event runs alone before this time: a crash right at the start is not caused by an event.
    alone_from: Instant,
}

/// The last flush that found a partition dirty, and the last that a commit covers.
#[derive(Debug, Default)]
struct FlushMarks {
    wanted: u64,
    covered: u64,
}

/// A write in progress.
#[derive(Debug)]
struct Pending {
    op: u64,
    kind: Kind,
    first_sent: Instant,
    last_sent: Instant,
    current: Lease,
    next: Lease,
    progress: Option<Progress>,
    flush: u64,
    /// The response was lost: the row is read to find out.
    doubt: bool,
    /// No call is in progress; the next one starts when `retry_at` is due.
    idle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Take,
    Accept,
    Commit,
    Last,
}

/// A partition that is being given up.
#[derive(Debug)]
struct Stop {
    why: Revocation,
    since: Instant,
    /// The progress when it was stopped; nothing moves it any more.
    last: Option<Snapshot>,
}

/// A partition that another member was asked for.
#[derive(Debug)]
struct Ask {
    since: Instant,
    generation: u64,
    next_read: Instant,
    reading: Option<u64>,
}

#[derive(Debug)]
struct Flush {
    id: u64,
    lost: bool,
}

impl Member {
    /// A member named `owner` of the group of that record, drawing from `seed`.
    pub(crate) fn new(
        timings: Timings,
        key: GroupKey,
        owner: OwnerId,
        group: GroupRecord,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            identity: Identity {
                timings,
                key,
                owner,
            },
            alone: Alone::new(rng.next_u64()),
            steps: Steps {
                last_tick: now,
                wake: now,
                rng,
                ops: 0,
                balance_due: false,
            },
            table: Table {
                group: GroupState {
                    record: group,
                    fresh: true,
                    asking: false,
                },
                partitions: BTreeMap::new(),
                rows: BTreeMap::new(),
                creating: BTreeSet::new(),
                create_at: now,
                deleting: BTreeSet::new(),
                lost: BTreeMap::new(),
            },
            owned: BTreeMap::new(),
            asks: Asks::default(),
            listings: Listings::new(now),
            ending: Ending::default(),
        }
    }

    /// Takes an input and returns the commands that follow.
    pub(crate) fn handle(
        &mut self,
        input: Input,
        now: Instant,
        work: &mut dyn Work,
    ) -> Vec<Command> {
        let mut out = Vec::new();
        if self.ending.closed {
            return out;
        }
        if let Some(partition) = self.renewed_alone(&input, now) {
            if let Input::Written(_, op, answer) = input {
                self.on_written(&partition, op, answer, now, &mut out);
            }
            self.tend(&partition, now, work, &mut out);
            if let Some(owned) = self.owned.get(&partition) {
                self.steps.wake = self.wake_for(owned, self.steps.wake);
            }
            return out;
        }
        if let Input::Flush(id) = input {
            // Before any lease is counted as lost, so that the flush reports it.
            self.on_flush(id, work);
        }
        // A lease that expired meanwhile is lost, also if this input renews it (rule 6).
        self.expire(now, &mut out);
        match input {
            Input::Tick | Input::Flush(_) => {}
            Input::Listed(answer) => self.on_listed(answer, now, work, &mut out),
            Input::Group(answer) => self.on_group(answer, now, &mut out),
            Input::Created(partition, answer) => self.on_created(&partition, answer, now, &mut out),
            Input::Written(partition, op, answer) => {
                self.on_written(&partition, op, answer, now, &mut out);
            }
            Input::Read(partition, op, answer) => {
                self.on_read(&partition, op, answer, now, &mut out);
            }
            Input::Requested(partition, answer) => {
                self.on_requested(&partition, answer, now, &mut out);
            }
            Input::Deleted(partition, answer) => self.on_deleted(&partition, answer, now),
            Input::Close => self.on_close(now, &mut out),
        }
        self.tick(now, work, &mut out);
        self.steps.wake = self.wake();
        out
    }

    /// Returns the partition of a commit that succeeded, if nothing else can follow from it: then only
    /// this partition is looked at. Most inputs of a large group are of this kind, and looking at every
    /// partition for each would cost the square of their number.
    fn renewed_alone(&self, input: &Input, now: Instant) -> Option<PartitionId> {
        let Input::Written(partition, op, Ok(Swap::Swapped(_))) = input else {
            return None;
        };
        let pending = self.owned.get(partition)?.pending.as_ref()?;
        let calm = now < self.steps.wake
            && !self.ending.closing
            && self.ending.flushes.is_empty()
            && !self.steps.balance_due
            && !self.alone.is_taken();
        (calm && pending.op == *op && pending.kind == Kind::Commit).then(|| partition.clone())
    }

    /// Returns when to call again with [`Input::Tick`] at the latest.
    pub(crate) fn next_wake(&self) -> Instant {
        self.steps.wake
    }

    fn wake(&self) -> Instant {
        let timings = &self.identity.timings;
        let mut wake = self.steps.last_tick + timings.life;
        if self.listings.under_way.is_none() && !self.ending.closing {
            wake = wake.min(self.listings.next);
        }
        if !self.owned.is_empty() || !self.asks.open.is_empty() {
            let often = timings.commit_min.max(Duration::from_millis(50));
            wake = wake.min(self.steps.last_tick + often.min(timings.renew_every / 4));
        }
        if self.alone.is_taken() {
            wake = wake.min(self.steps.last_tick + CLAIM_WITHIN);
        }
        self.owned
            .values()
            .fold(wake, |wake, owned| self.wake_for(owned, wake))
    }

    /// Returns `wake`, or when the partition is due before that.
    fn wake_for(&self, owned: &Owned, wake: Instant) -> Instant {
        let now = self.steps.last_tick;
        let ends = owned.ends(self.ending.closing, &self.identity.timings);
        let idle = owned.pending.as_ref().is_none_or(|pending| pending.idle);
        let alone = (owned.writes.alone_from > now).then_some(owned.writes.alone_from);
        let retry = (idle && owned.retry.at > now).then_some(owned.retry.at);
        [ends, retry, alone]
            .into_iter()
            .flatten()
            .fold(wake, Instant::min)
    }

    /// Returns when the store, or the listing of the log, became unreachable; `None` while both are
    /// reachable.
    pub(crate) fn unreachable_since(&self, now: Instant) -> Option<Instant> {
        self.listings.health.unreachable_since(now)
    }

    fn reached(&mut self) {
        self.listings.health.succeeded(Call::Row);
    }

    fn not_reached(&mut self, now: Instant) {
        self.listings.health.failed(Call::Row, now);
    }

    fn next_op(&mut self) -> u64 {
        self.steps.ops += 1;
        self.steps.ops
    }
}

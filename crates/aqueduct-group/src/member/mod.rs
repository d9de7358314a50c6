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
//! The driver carries out [`Command`]s and answers with [`Input`]s; what the partitions have done
//! is asked of [`Work`] when it is needed. One write of a lease is under way at a time.

mod allowance;
mod alone;
mod balance;
mod commands;
mod health;
mod leave;
mod lineage;
mod rng;
mod rows;
#[cfg(test)]
mod tests;
mod tick;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aqueduct_core::{
    GroupKey, GroupRecord, Instant, Lease, OwnerId, Partition, PartitionId, Revocation,
};

use self::allowance::Allowance;
use self::alone::{Alone, CLAIM_WITHIN};
pub(crate) use self::commands::{Command, Input, Listing, Opening, Snapshot, Work, WriteKind};
use self::health::{Call, Health};
pub(crate) use self::rng::Rng;
use crate::GroupOptions;
use crate::tracker::Progress;

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

    /// How long a partition is open before its suspects run alone.
    fn settle_in(&self) -> Duration {
        self.life / 30
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
    timings: Timings,
    /// For messages: a process may have many members.
    key: GroupKey,
    owner: OwnerId,
    group: GroupRecord,
    /// Whether `group` was read since leases were last found missing: a reset replaces it.
    group_fresh: bool,
    asking_group: bool,
    rng: Rng,
    partitions: BTreeMap<PartitionId, Partition>,
    rows: BTreeMap<PartitionId, Row>,
    owned: BTreeMap<PartitionId, Owned>,
    creating: BTreeSet<PartitionId>,
    deleting: BTreeSet<PartitionId>,
    asks: BTreeMap<PartitionId, Ask>,
    /// When each partition was last asked for, so that nobody is asked again too soon.
    asked: BTreeMap<PartitionId, Instant>,
    /// The generations that were open here and were lost, to know them again.
    lost: BTreeMap<PartitionId, u64>,
    listing: Option<Instant>,
    next_list: Instant,
    listed: Option<Instant>,
    list_failures: u32,
    health: Health,
    flushes: Vec<Flush>,
    alone: Alone,
    ops: u64,
    balance_due: bool,
    create_at: Instant,
    closing: bool,
    /// What could not be given up in time, while closing.
    kept: BTreeSet<PartitionId>,
    closed: bool,
    last_tick: Instant,
}

/// A lease as the store last showed it, and since when it stands so.
#[derive(Clone, Debug)]
struct Row {
    lease: Lease,
    since: Instant,
}

/// A partition that is ours, or on its way to be.
#[derive(Debug)]
struct Owned {
    lease: Lease,
    /// When it counts as lost unless renewed; `None` before the first write went through.
    deadline: Option<Instant>,
    pending: Option<Pending>,
    retry_at: Instant,
    failures: u32,
    last_sent: Instant,
    renew_at: Instant,
    /// Since when it is settled to its end.
    ended_since: Option<Instant>,
    stop: Option<Stop>,
    /// The last flush that found it dirty, and the last that a commit covers.
    flush: u64,
    flushed: u64,
    /// Writes that were refused in a row although the row is ours.
    refused: u32,
    allowance: Allowance,
    /// Nothing runs alone before: what kills a process as soon as it starts is no event.
    alone_from: Instant,
}

/// A write under way.
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
    /// The answer was lost: the row is read to find out.
    doubt: bool,
    /// No call is under way; the next one starts when `retry_at` is due.
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
    to: Option<OwnerId>,
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
            timings,
            key,
            owner,
            group,
            group_fresh: true,
            asking_group: false,
            alone: Alone::new(rng.next()),
            rng,
            partitions: BTreeMap::new(),
            rows: BTreeMap::new(),
            owned: BTreeMap::new(),
            creating: BTreeSet::new(),
            deleting: BTreeSet::new(),
            asks: BTreeMap::new(),
            asked: BTreeMap::new(),
            lost: BTreeMap::new(),
            listing: None,
            next_list: now,
            listed: None,
            list_failures: 0,
            health: Health::default(),
            flushes: Vec::new(),
            ops: 0,
            balance_due: false,
            create_at: now,
            closing: false,
            kept: BTreeSet::new(),
            closed: false,
            last_tick: now,
        }
    }

    /// Takes in what happened and answers what to do.
    pub(crate) fn handle(
        &mut self,
        input: Input,
        now: Instant,
        work: &mut dyn Work,
    ) -> Vec<Command> {
        let mut out = Vec::new();
        if self.closed {
            return out;
        }
        if let Input::Flush(id) = input {
            // Before anything is counted as lost, so that the flush tells of it.
            self.on_flush(id, work);
        }
        // What has expired meanwhile is expired before any answer is looked at.
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
            Input::Requested(partition, answer) => self.on_requested(&partition, answer, now),
            Input::Deleted(partition, answer) => self.on_deleted(&partition, answer, now),
            Input::Close => self.on_close(now, &mut out),
        }
        self.tick(now, work, &mut out);
        out
    }

    /// When to call again with [`Input::Tick`] at the latest.
    pub(crate) fn next_wake(&self) -> Instant {
        let timings = &self.timings;
        let mut wake = self.last_tick + timings.life;
        if self.listing.is_none() && !self.closing {
            wake = wake.min(self.next_list);
        }
        if !self.owned.is_empty() || !self.asks.is_empty() {
            let often = timings.commit_min.max(Duration::from_millis(50));
            wake = wake.min(self.last_tick + often.min(timings.renew_every / 4));
        }
        if self.alone.is_taken() {
            wake = wake.min(self.last_tick + CLAIM_WITHIN);
        }
        for owned in self.owned.values() {
            let ends = owned.ends(self.closing, timings);
            let idle = owned.pending.as_ref().is_none_or(|pending| pending.idle);
            let alone = (owned.alone_from > self.last_tick).then_some(owned.alone_from);
            let retry = (idle && owned.retry_at > self.last_tick).then_some(owned.retry_at);
            for due in [ends, retry, alone].into_iter().flatten() {
                wake = wake.min(due);
            }
        }
        wake
    }

    /// Returns when the store, or the listing of the log, became unreachable; `None` while both are
    /// reachable.
    pub(crate) fn unreachable_since(&self, now: Instant) -> Option<Instant> {
        self.health.unreachable_since(now)
    }

    fn reached(&mut self) {
        self.health.succeeded(Call::Row);
    }

    fn not_reached(&mut self, now: Instant) {
        self.health.failed(Call::Row, now);
    }

    fn next_op(&mut self) -> u64 {
        self.ops += 1;
        self.ops
    }
}

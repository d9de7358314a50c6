use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use aqueduct_core::{
    Backoff, GroupKey, GroupRecord, Instant, OwnerId, PartitionId, Parts, ResolvedStart,
    Revocation, Timestamp,
};

use super::clock::Clock;
use super::scenario::Scenario;
use crate::member::{Member, Opening, Rng, Snapshot, Work};
use crate::tracker::{Tracker, TrackerOptions};

/// One process: a member, its trackers, and the handlers that run.
pub(super) struct Process {
    pub(super) owner: OwnerId,
    pub(super) clock: Clock,
    pub(super) member: Member,
    pub(super) slots: BTreeMap<PartitionId, SimSlot>,
    pub(super) chains: BTreeMap<u64, Chain>,
    pub(super) alive: bool,
    pub(super) leaving: bool,
    /// Whether only the event that runs alone is handed out.
    pub(super) held: bool,
    pub(super) flushes: BTreeSet<u64>,
    pub(super) stalled_until: Instant,
    /// Until when it cannot reach the store.
    pub(super) cut_until: Instant,
    /// When it is woken, in the time of the world.
    pub(super) wake_at: Instant,
}

pub(super) struct SimSlot {
    pub(super) tracker: Tracker,
    pub(super) generation: u64,
    pub(super) until: Instant,
    pub(super) stopping: Option<Revocation>,
    pub(super) due_at: Option<Instant>,
}

/// Deliveries of one key, or one without, handled one after the other.
pub(super) struct Chain {
    pub(super) partition: PartitionId,
    pub(super) generation: u64,
    pub(super) parts: VecDeque<Parts>,
}

impl Process {
    pub(super) fn new(name: String, scenario: &Scenario, seed: u64, now: Instant) -> Self {
        let owner = OwnerId::new(name);
        let start = ResolvedStart {
            at: Timestamp::EPOCH,
            partitions: Vec::new(),
        };
        let record = GroupRecord::new(start, 0, Timestamp::EPOCH);
        let key = GroupKey::new("simulated", "log");
        let clock = Clock::drawn(Rng::new(seed ^ 0xc10c).next_u64());
        let local = clock.local(now);
        Self {
            clock,
            member: Member::new(scenario.timings, key, owner.clone(), record, seed, local),
            owner,
            slots: BTreeMap::new(),
            chains: BTreeMap::new(),
            alive: true,
            leaving: false,
            held: false,
            flushes: BTreeSet::new(),
            stalled_until: now,
            cut_until: now,
            wake_at: now,
        }
    }

    pub(super) fn open(&mut self, opening: &Opening, seed: u64) {
        let lease = &opening.lease;
        let options = TrackerOptions {
            max_unsettled: 32,
            max_unsettled_bytes: 1 << 20,
            max_parked: 16,
            max_span: 128,
            redelivery: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            hash_seed: seed,
        };
        let takeover = opening.takeover();
        let tracker = Tracker::new(options, lease.checkpoint, lease.handed_out, takeover);
        self.slots.insert(
            lease.partition.clone(),
            SimSlot {
                tracker,
                generation: lease.generation,
                until: opening.until,
                stopping: None,
                due_at: None,
            },
        );
    }

    pub(super) fn slot(&mut self, id: &PartitionId, generation: u64) -> Option<&mut SimSlot> {
        let slot = self.slots.get_mut(id)?;
        (slot.generation == generation).then_some(slot)
    }
}

/// The [`Work`] of a simulated process.
pub(super) struct View<'a> {
    pub(super) slots: &'a mut BTreeMap<PartitionId, SimSlot>,
    pub(super) dead: &'a BTreeSet<OwnerId>,
    /// Whether a receiver waits.
    pub(super) waits: bool,
    /// Whether any handler runs.
    pub(super) busy: bool,
    /// Whether only the event that runs alone is handed out.
    pub(super) held: &'a mut bool,
    /// The partitions whose deliveries were revoked for good.
    pub(super) stopped: Vec<PartitionId>,
    /// The time of the process.
    pub(super) now: Instant,
}

impl Work for View<'_> {
    fn snapshot(&mut self, partition: &PartitionId) -> Option<Snapshot> {
        let slot = self.slots.get_mut(partition)?;
        let tracker = &mut slot.tracker;
        let wanted = self.waits && slot.stopping.is_none();
        let idle = tracker.in_flight() == 0;
        Some(Snapshot {
            progress: tracker.progress(),
            wants_mark: wanted && tracker.may_need_mark(),
            mark: tracker.waits_for_mark(),
            alone: tracker.is_alone(),
            marked: tracker.mark_is_stored(),
            unclaimed: !wanted && tracker.is_unclaimed(),
            drained: slot
                .stopping
                .is_some_and(|why| why == Revocation::Shutdown || idle),
            ended: tracker
                .is_settled_to_end()
                .then(|| tracker.children().unwrap_or_default().to_vec()),
        })
    }

    fn needs_alone(&mut self, partition: &PartitionId) -> bool {
        let now = self.now;
        let slot = self.slots.get_mut(partition);
        slot.is_some_and(|slot| slot.tracker.needs_alone(now))
    }

    fn quiet(&mut self) -> bool {
        *self.held = true;
        !self.busy
    }

    fn release(&mut self) {
        *self.held = false;
    }

    fn mark(&mut self, partition: &PartitionId, alone: bool) -> Option<Snapshot> {
        let slot = self.slots.get_mut(partition)?;
        slot.tracker.mark(self.now, alone);
        self.snapshot(partition)
    }

    fn keep_company(&mut self, partition: &PartitionId) {
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.tracker.keep_company();
        }
    }

    fn withdraw(&mut self, partition: &PartitionId) {
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.tracker.withdraw();
        }
    }

    fn stop(&mut self, partition: &PartitionId, why: Revocation) -> Option<Snapshot> {
        self.slots.get_mut(partition)?.tracker.revoke_all(why);
        self.stopped.push(partition.clone());
        self.snapshot(partition)
    }

    fn is_dead(&self, owner: &OwnerId) -> bool {
        self.dead.contains(owner)
    }
}

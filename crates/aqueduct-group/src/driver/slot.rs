use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::{
    Abandoned, Assignment, Checkpoint, Error, Instant, OpenPartition, PartitionId, PartitionStatus,
    Parts, Position, ReadFailure, ReadFrom, Record, Revocation, Revocations, Settlement, Settler,
    Settling, Tail, Timestamp,
};
use event_listener::Event as Signal;

use super::lag::Lag;
use super::stop::Stopping;
use super::{Shared, lock};
use crate::member::{Opening, Snapshot};
use crate::tracker::{Progress, Settled, Tracker, TrackerOptions};

/// One owned partition: the settler of its deliveries.
pub(crate) struct Slot {
    pub(super) shared: Arc<Shared>,
    pub(super) assignment: Assignment,
    pub(super) partition: PartitionId,
    pub(super) start: Checkpoint,
    /// As stored with the checkpoint.
    caught_up_at: Option<Timestamp>,
    inner: Mutex<Inner>,
    revocations: Revocations,
    /// When handing out stops, in nanoseconds of the runtime's clock.
    until: AtomicU64,
    /// Whether events may be handed out: its first hook has run, and it is not being given up.
    open: AtomicBool,
    /// An event is marked as started and waits for a receiver, which should look here first.
    marked: AtomicBool,
    /// Wakes the reader when there may be room.
    room: Signal,
    pub(super) stopping: Stopping,
}

struct Inner {
    tracker: Tracker,
    /// The reader waits for room.
    reader_waits: bool,
    /// The driver wants to know of every change.
    watched: bool,
    /// Bytes charged to the process's budget.
    charged: usize,
    lag: Lag,
    /// Consecutive failed reads, and the last failure.
    failing: Option<(u32, ReadFailure)>,
    /// Reading stopped at a gap.
    gap: bool,
}

impl Slot {
    pub(super) fn new(shared: &Arc<Shared>, opening: &Opening) -> Arc<Self> {
        let options = &shared.options;
        let lease = &opening.lease;
        let limits = TrackerOptions {
            max_unsettled: options.max_unsettled,
            max_unsettled_bytes: options.max_unsettled_bytes,
            max_parked: options.max_parked,
            max_span: options.max_span,
            redelivery: options.redelivery,
            hash_seed: shared.runtime.random(),
        };
        let tracker = Tracker::new(
            limits,
            lease.checkpoint,
            lease.handed_out,
            opening.takeover(),
        );
        let watched = tracker.is_guarded();
        Arc::new(Self {
            shared: shared.clone(),
            assignment: Assignment {
                stream: shared.key.stream.clone(),
                group: shared.key.group.clone(),
                partition: Some(lease.partition.clone()),
                generation: lease.generation,
                replay: opening.replay,
            },
            partition: lease.partition.clone(),
            start: lease.checkpoint,
            caught_up_at: lease.caught_up_at,
            inner: Mutex::new(Inner {
                tracker,
                reader_waits: false,
                watched,
                charged: 0,
                lag: Lag::default(),
                failing: None,
                gap: false,
            }),
            revocations: Revocations::new(),
            until: AtomicU64::new(nanos(opening.until)),
            open: AtomicBool::new(false),
            marked: AtomicBool::new(false),
            room: Signal::new(),
            stopping: Stopping::default(),
        })
    }

    /// Starts handing out, once the first hook has run.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.shared.ready.notify(usize::MAX);
        self.shared.wake.notify(usize::MAX);
    }

    /// Stops handing out, and asks the reader's task to end.
    pub(super) fn stop(&self, why: Revocation) {
        self.open.store(false, Ordering::Release);
        lock(&self.inner).watched = true;
        self.stopping.begin(why);
    }

    /// Hands out what is deliverable, while the lease lasts; returns when to look again. `out` is
    /// called under the lock.
    pub(super) fn take(&self, max: usize, now: Instant, out: impl FnMut(Parts)) -> Option<Instant> {
        if !self.open.load(Ordering::Acquire) || nanos(now) >= self.until.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = lock(&self.inner);
        if self.shared.seat.is_held() && !inner.tracker.is_alone() {
            // Only the event that runs alone is handed out until it is settled (rule 5).
            return None;
        }
        let nothing = inner.tracker.take(max, now, out) == 0;
        if self.is_marked() && !inner.tracker.is_unclaimed() {
            self.marked.store(false, Ordering::Release);
        }
        let wake_reader = inner.reader_waits && inner.tracker.room() > 0;
        let due = if nothing {
            inner.tracker.next_due()
        } else {
            None
        };
        // A retry that became due may need a mark.
        let wake_driver = nothing && inner.watched && inner.tracker.may_need_mark();
        drop(inner);
        if wake_reader {
            self.room.notify(usize::MAX);
        }
        if wake_driver {
            self.shared.wake.notify(usize::MAX);
        }
        due
    }

    /// Whether an event is marked as started and waits for a receiver.
    pub(super) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Acquire)
    }

    /// Whether a receiver that waits should wake the driver, for a mark or an announcement.
    pub(super) fn is_watched(&self) -> bool {
        lock(&self.inner).watched
    }

    pub(super) fn put_back(&self, parts: &Parts) {
        let later = Settlement::Defer {
            delay: Duration::ZERO,
        };
        let now = self.shared.runtime.now();
        // A revoked delivery comes again anyway.
        lock(&self.inner)
            .tracker
            .settle(parts, &later, now, || 0)
            .ok();
    }

    pub(super) fn is_revoked(&self, ticket: u64) -> bool {
        lock(&self.inner).tracker.revocation(ticket).is_some()
    }

    /// Waits until records may be read; returns how many.
    pub(super) async fn room(&self) -> usize {
        loop {
            let listener = self.room.listen();
            let freed = self
                .shared
                .options
                .budget
                .as_ref()
                .map(|budget| budget.freed());
            let (room, affordable) = self.look_for_room();
            if room > 0 && affordable {
                return room;
            }
            match freed.filter(|_| !affordable) {
                Some(freed) => drop(futures::future::select(freed, listener).await),
                None => listener.await,
            }
        }
    }

    /// Returns how many records may be read now; `None` while there is no room.
    pub(super) fn room_now(&self) -> Option<usize> {
        let (room, affordable) = self.look_for_room();
        (room > 0 && affordable).then_some(room)
    }

    fn look_for_room(&self) -> (usize, bool) {
        let mut inner = lock(&self.inner);
        let budget = self.shared.options.budget.as_ref();
        let affordable = budget.is_none_or(|budget| budget.allows(inner.charged));
        let draining = self.shared.draining.load(Ordering::Acquire);
        let room = if draining { 0 } else { inner.tracker.room() };
        inner.reader_waits = room == 0 || !affordable;
        (room, affordable)
    }

    pub(super) fn wake_reader(&self) {
        self.room.notify(usize::MAX);
    }

    /// Adds the records of a read.
    pub(super) fn fetched(
        &self,
        records: Vec<Record>,
        tail: Option<(Tail, Timestamp)>,
        now: Instant,
    ) {
        let mut inner = lock(&self.inner);
        inner.failing = None;
        let empty = records.is_empty();
        inner.tracker.fetched(records, now);
        if let Some((tail, at)) = tail {
            let seen = inner.tracker.last_seen();
            inner.lag.read(tail, seen, now);
            if is_at_end(tail, seen) {
                inner.tracker.at_end(at);
            }
        }
        if empty {
            return;
        }
        self.charge(&mut inner);
        let watched = inner.watched;
        drop(inner);
        self.shared.ready.notify(usize::MAX);
        if watched {
            self.shared.wake.notify(usize::MAX);
        }
    }

    /// Notes the tail that was requested beside the reads.
    pub(super) fn tail_asked(&self, tail: Tail, now: Instant) {
        let mut inner = lock(&self.inner);
        let seen = inner.tracker.last_seen();
        inner.lag.asked(tail, seen, now);
    }

    /// Notes a failed read; returns how many failed in a row.
    pub(super) fn read_failed(&self, error: &Error, now: Instant) -> u32 {
        let mut inner = lock(&self.inner);
        let (count, since) = match &inner.failing {
            Some((count, failure)) => (count.saturating_add(1), failure.since),
            None => (1, now),
        };
        let error = error.clone();
        inner.failing = Some((count, ReadFailure { error, since }));
        count
    }

    /// Stops reading at a gap; `receive_batch` returns the error once no partition can go on.
    pub(super) fn stop_at_gap(&self, error: Error) {
        let since = self.shared.runtime.now();
        let mut inner = lock(&self.inner);
        inner.failing = Some((u32::MAX, ReadFailure { error, since }));
        inner.gap = true;
        drop(inner);
        self.shared.gaps.store(true, Ordering::Release);
        self.shared.ready.notify(usize::MAX);
    }

    /// Returns the gap at which reading stopped, once everything before it is settled.
    pub(super) fn gap(&self) -> Option<Error> {
        let inner = lock(&self.inner);
        let (_, failure) = inner.failing.as_ref()?;
        (inner.gap && inner.tracker.held() == 0).then(|| failure.error.clone())
    }

    pub(super) fn reader_ended(&self, children: Vec<PartitionId>) {
        let mut inner = lock(&self.inner);
        inner.tracker.reader_ended(children);
        inner.watched = true;
        drop(inner);
        self.shared.wake.notify(usize::MAX);
    }

    /// Returns whether an expired position loses nothing: everything stored until a time within the
    /// retention is settled, so the partition was only idle (rule 9). `now` is the server's time, as
    /// are the times it is compared with.
    pub(super) fn is_quiet(&self, now: Timestamp) -> bool {
        let Some(retention) = self.shared.options.retention else {
            return false;
        };
        let inner = lock(&self.inner);
        let caught_up = inner.tracker.caught_up_at().max(self.caught_up_at);
        let settled = inner.tracker.held() == 0;
        settled && caught_up.is_some_and(|at| now.since(at) < retention)
    }

    /// Returns where a new reader goes on.
    pub(super) fn read_from(&self) -> Option<ReadFrom> {
        lock(&self.inner).tracker.read_from()
    }

    /// Returns the request that opens a reader where the last one stopped; `None` if everything is
    /// read.
    pub(super) fn resume(&self) -> Option<OpenPartition> {
        let inner = lock(&self.inner);
        let mut request = self.request(inner.tracker.read_from()?);
        request.resume_token = inner.tracker.read_token().cloned();
        Some(request)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut inner = lock(&self.inner);
        let shared = &self.shared;
        let wanted = self.open.load(Ordering::Acquire)
            && shared.waiting.load(Ordering::Acquire) > 0
            && !shared.paused.load(Ordering::Acquire)
            && !shared.draining.load(Ordering::Acquire);
        let may_need_mark = wanted && inner.tracker.may_need_mark();
        let tracker = &inner.tracker;
        let drained = match self.stopping.why() {
            None => false,
            Some(Revocation::Shutdown) => self.stopping.is_finished(),
            Some(_) => self.stopping.is_finished() && tracker.in_flight() == 0,
        };
        Snapshot {
            progress: tracker.progress(),
            wants_mark: may_need_mark,
            mark: tracker.waits_for_mark(),
            alone: tracker.is_alone(),
            unclaimed: !wanted && tracker.is_unclaimed(),
            drained,
            ended: tracker
                .is_settled_to_end()
                .then(|| tracker.children().unwrap_or_default().to_vec()),
        }
    }

    /// Returns whether the next suspect is to run alone, rather than in a batch.
    pub(super) fn needs_alone(&self, now: Instant) -> bool {
        lock(&self.inner).tracker.needs_alone(now)
    }

    /// Chooses the next event to run alone, or the next batch.
    pub(super) fn mark(&self, now: Instant, alone: bool) {
        lock(&self.inner).tracker.mark(now, alone);
    }

    /// Turns the mark of the event that runs alone into one that counts for no event.
    pub(super) fn keep_company(&self) {
        lock(&self.inner).tracker.keep_company();
    }

    /// Returns how many events are with receivers, and wakes the driver when that changes.
    pub(super) fn watch_in_flight(&self) -> usize {
        let mut inner = lock(&self.inner);
        inner.watched = true;
        inner.tracker.in_flight()
    }

    /// Removes the mark of an event that no receiver took.
    pub(super) fn withdraw(&self) {
        self.marked.store(false, Ordering::Release);
        lock(&self.inner).tracker.withdraw();
    }

    pub(super) fn committed(&self, progress: &Progress) {
        let mut inner = lock(&self.inner);
        let opened = inner.tracker.committed(progress);
        let marked = inner.tracker.is_unclaimed();
        drop(inner);
        self.marked.store(marked, Ordering::Release);
        if opened {
            self.shared.ready.notify(usize::MAX);
        }
    }

    pub(super) fn extended(&self, until: Instant) {
        self.until.store(nanos(until), Ordering::Release);
        if self.stopping.why().is_none() {
            let mut inner = lock(&self.inner);
            let tracker = &inner.tracker;
            // Only now: receivers that wait for a mark or an announcement depend on the driver.
            inner.watched &=
                tracker.is_guarded() || tracker.children().is_some() || self.shared.seat.is_held();
        }
    }

    /// Revokes all deliveries. A commit after this is final.
    pub(super) fn revoke(&self, why: Revocation) {
        self.open.store(false, Ordering::Release);
        let mut inner = lock(&self.inner);
        let strays = inner.tracker.in_flight();
        self.shared.strays.fetch_add(strays, Ordering::AcqRel);
        inner.tracker.revoke_all(why);
        self.charge(&mut inner);
        drop(inner);
        self.revocations.notify();
    }

    pub(super) fn status(&self, now: Instant) -> PartitionStatus {
        let inner = lock(&self.inner);
        let mut status = PartitionStatus::new(
            self.assignment.stream.clone(),
            self.partition.clone(),
            self.assignment.generation,
            inner.tracker.progress().ack_floor,
        );
        inner.tracker.fill_status(now, &mut status);
        status.lag_events = inner.lag.events(inner.tracker.held());
        status.lag_time = inner.lag.time();
        // One failed read is retried at once; report only a second one.
        let failing = inner.failing.as_ref().filter(|(count, _)| *count > 1);
        status.read_failure = failing.map(|(_, failure)| failure.clone());
        status
    }

    fn charge(&self, inner: &mut Inner) {
        if let Some(budget) = &self.shared.options.budget {
            let held = inner.tracker.bytes();
            budget.change(inner.charged, held);
            inner.charged = held;
        }
    }

    /// Wakes the waiters that a settlement concerns, after releasing the lock.
    fn settled(&self, mut inner: std::sync::MutexGuard<'_, Inner>, settled: Settled) {
        if self.shared.options.budget.is_some() {
            let held = inner.tracker.bytes();
            // In steps, so that not every settlement writes to state shared by all partitions.
            if inner.charged >= held + (64 << 10) || held == 0 {
                self.charge(&mut inner);
            }
        }
        let wake_reader = inner.reader_waits && inner.tracker.room() > 0;
        let watched = inner.watched;
        drop(inner);
        if settled.superseded {
            self.revocations.notify();
        }
        if settled.deliverable || settled.planned {
            self.shared.ready.notify(usize::MAX);
        }
        if wake_reader {
            self.room.notify(usize::MAX);
        }
        if watched {
            self.shared.wake.notify(usize::MAX);
        }
    }
}

impl Settler for Slot {
    fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    fn settle<'a>(&'a self, parts: &'a Parts, settlement: Settlement) -> Settling<'a> {
        if let Settlement::Reject { reason } = &settlement {
            return Settling::Ready(Err(Error::unsupported(format!(
                "event {} was rejected ({reason}), and nothing was said of rejected events: \
                 configure dead letters, or say `on_reject`",
                parts.event.id()
            ))));
        }
        let runtime = &self.shared.runtime;
        let now = match settlement {
            Settlement::Ack => Instant::default(),
            _ => runtime.now(),
        };
        let mut inner = lock(&self.inner);
        let answer = inner
            .tracker
            .settle(parts, &settlement, now, || runtime.random());
        match answer {
            Ok(settled) => {
                self.settled(inner, settled);
                Settling::Ready(Ok(()))
            }
            Err(why) => {
                drop(inner);
                Settling::Ready(Err(why.to_error()))
            }
        }
    }

    fn extend<'a>(&'a self, parts: &'a Parts, _by: Duration) -> Settling<'a> {
        Settling::Ready(match self.revocation(parts) {
            Some(why) => Err(why.to_error()),
            None => Ok(()),
        })
    }

    fn revocation(&self, parts: &Parts) -> Option<Revocation> {
        lock(&self.inner).tracker.revocation(parts.ticket)
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn abandon(&self, parts: &Parts, why: Abandoned) {
        let runtime = &self.shared.runtime;
        let now = runtime.now();
        let leaving = self.stopping.why().is_some() || self.shared.draining.load(Ordering::Acquire);
        let mut inner = lock(&self.inner);
        if inner.tracker.is_over() {
            drop(inner);
            self.shared.stray_dropped();
            return;
        }
        let settled = if leaving {
            // A handler that a shutdown or hand-off cancels has not failed (rule 5).
            inner.tracker.give_back(parts, now, Duration::ZERO)
        } else if why == Abandoned::Cancelled {
            // With a delay: an event cancelled again and again must not become a hot loop.
            let pause = self.shared.options.redelivery.ceiling(1);
            inner.tracker.give_back(parts, now, pause)
        } else {
            inner.tracker.abandon(parts, now, || runtime.random())
        };
        self.settled(inner, settled);
    }
}

/// Returns whether a read that ended at `seen` left nothing behind.
fn is_at_end(tail: Tail, seen: Option<Position>) -> bool {
    match (tail.events_behind, tail.last) {
        (Some(behind), _) => behind == 0,
        (None, Some(last)) => Some(last) <= seen,
        // Not where the others are known: the last of two events stored at once is not behind either.
        (None, None) => tail.time_behind == Some(Duration::ZERO),
    }
}

fn nanos(moment: Instant) -> u64 {
    u64::try_from(moment.elapsed_since_origin().as_nanos()).unwrap_or(u64::MAX)
}

use std::sync::atomic::Ordering;

use aqueduct_core::{Instant, PartitionStatus, Revocation};

use super::{Slot, lock, nanos};
use crate::member::Snapshot;
use crate::tracker::Progress;

/// The driver's side: the state that decisions need, and what became of them.
impl Slot {
    pub(in crate::driver) fn snapshot(&self) -> Snapshot {
        let mut inner = lock(&self.inner);
        let shared = &self.shared;
        let wanted = self.handing.open.load(Ordering::Acquire)
            && shared.receivers.waiting.load(Ordering::Acquire) > 0
            && !shared.receivers.paused.load(Ordering::Acquire)
            && !shared.receivers.draining.load(Ordering::Acquire);
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
            marked: tracker.mark_is_stored(),
            unclaimed: !wanted && tracker.is_unclaimed(),
            drained,
            ended: tracker
                .is_settled_to_end()
                .then(|| tracker.children().unwrap_or_default().to_vec()),
        }
    }

    /// Returns whether the next suspect is to run alone, rather than in a batch.
    pub(in crate::driver) fn needs_alone(&self, now: Instant) -> bool {
        lock(&self.inner).tracker.needs_alone(now)
    }

    /// Chooses the next event to run alone, or the next batch.
    pub(in crate::driver) fn mark(&self, now: Instant, alone: bool) {
        lock(&self.inner).tracker.mark(now, alone);
    }

    /// Turns the mark of the event that runs alone into one that counts for no event.
    pub(in crate::driver) fn keep_company(&self) {
        lock(&self.inner).tracker.keep_company();
    }

    /// Returns how many events are with receivers, and wakes the driver when that changes.
    pub(in crate::driver) fn watch_in_flight(&self) -> usize {
        let mut inner = lock(&self.inner);
        inner.watched = true;
        inner.tracker.in_flight()
    }

    /// Removes the mark of an event that no receiver took.
    pub(in crate::driver) fn withdraw(&self) {
        self.handing.marked.store(false, Ordering::Release);
        lock(&self.inner).tracker.withdraw();
    }

    pub(in crate::driver) fn committed(&self, progress: &Progress) {
        let mut inner = lock(&self.inner);
        let opened = inner.tracker.committed(progress);
        let marked = inner.tracker.is_unclaimed();
        drop(inner);
        self.handing.marked.store(marked, Ordering::Release);
        if opened {
            self.shared.receivers.ready.notify(usize::MAX);
        }
    }

    pub(in crate::driver) fn extended(&self, until: Instant) {
        self.handing.until.store(nanos(until), Ordering::Release);
        if self.stopping.why().is_none() {
            let mut inner = lock(&self.inner);
            let tracker = &inner.tracker;
            // Only now: receivers that wait for a mark or an announcement depend on the driver.
            inner.watched &= tracker.is_guarded()
                || tracker.children().is_some()
                || self.shared.isolation.seat.is_held();
        }
    }

    /// Revokes all deliveries. A commit after this is final.
    pub(in crate::driver) fn revoke(&self, why: Revocation) {
        self.handing.open.store(false, Ordering::Release);
        let mut inner = lock(&self.inner);
        let strays = inner.tracker.in_flight();
        self.shared
            .isolation
            .strays
            .fetch_add(strays, Ordering::AcqRel);
        inner.tracker.revoke_all(why);
        self.charge(&mut inner);
        drop(inner);
        self.revocations.notify();
    }

    pub(in crate::driver) fn status(&self, now: Instant) -> PartitionStatus {
        let inner = lock(&self.inner);
        let mut status = PartitionStatus::new(
            self.assignment.stream.clone(),
            self.origin.partition.clone(),
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
}

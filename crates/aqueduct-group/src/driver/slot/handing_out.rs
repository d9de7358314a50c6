use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_core::{Instant, Parts, Settlement};

use super::{Slot, lock, nanos};

/// The receivers' side.
impl Slot {
    /// Starts handing out, once the first hook has run.
    pub(in crate::driver) fn open(&self) {
        self.handing.open.store(true, Ordering::Release);
        self.shared.receivers.ready.notify(usize::MAX);
        self.shared.driver.wake.notify(usize::MAX);
    }

    /// Hands out what is deliverable, while the lease lasts; returns when to look again. `out` is
    /// called under the lock.
    pub(in crate::driver) fn take(
        &self,
        max: usize,
        now: Instant,
        out: impl FnMut(Parts),
    ) -> Option<Instant> {
        if !self.handing.open.load(Ordering::Acquire) || self.is_expired(now) {
            return None;
        }
        let mut inner = lock(&self.inner);
        if self.shared.isolation.seat.is_held() && !inner.tracker.is_alone() {
            // Only the event that runs alone is handed out until it is settled (rule 5).
            return None;
        }
        let nothing = inner.tracker.take(max, now, out) == 0;
        if self.is_marked() && !inner.tracker.is_unclaimed() {
            self.handing.marked.store(false, Ordering::Release);
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
            self.shared.driver.wake.notify(usize::MAX);
        }
        due
    }

    /// Whether the lease has ended, unless it was renewed.
    pub(in crate::driver) fn is_expired(&self, now: Instant) -> bool {
        nanos(now) >= self.handing.until.load(Ordering::Acquire)
    }

    /// Whether an event is marked as started and waits for a receiver.
    pub(in crate::driver) fn is_marked(&self) -> bool {
        self.handing.marked.load(Ordering::Acquire)
    }

    /// Whether a receiver that waits should wake the driver, for a mark or an announcement.
    pub(in crate::driver) fn is_watched(&self) -> bool {
        lock(&self.inner).watched
    }

    pub(in crate::driver) fn put_back(&self, parts: &Parts) {
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

    pub(in crate::driver) fn is_revoked(&self, ticket: u64) -> bool {
        lock(&self.inner).tracker.revocation(ticket).is_some()
    }
}

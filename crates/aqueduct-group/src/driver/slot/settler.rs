use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_core::{
    Abandoned, Assignment, Error, Instant, Parts, Revocation, Revocations, Settlement, Settler,
    Settling,
};

use super::{Inner, Slot, lock};
use crate::tracker::Settled;

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
        let why = lock(&self.inner).tracker.revocation(parts.ticket);
        // A process that stood still has not been told yet that its lease is over (rule 6).
        why.or_else(|| {
            let expired = self.is_expired(self.shared.runtime.now());
            expired.then_some(Revocation::Lost)
        })
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn abandon(&self, parts: &Parts, why: Abandoned) {
        let runtime = &self.shared.runtime;
        let now = runtime.now();
        let leaving =
            self.stopping.why().is_some() || self.shared.receivers.draining.load(Ordering::Acquire);
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

impl Slot {
    /// Wakes the waiters that a settlement concerns, after releasing the lock.
    fn settled(&self, mut inner: MutexGuard<'_, Inner>, settled: Settled) {
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
            self.shared.receivers.ready.notify(usize::MAX);
        }
        if wake_reader {
            self.room.notify(usize::MAX);
        }
        if watched {
            self.shared.driver.wake.notify(usize::MAX);
        }
    }
}

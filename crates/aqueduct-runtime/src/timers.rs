use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aqueduct_core::Instant;
use aqueduct_core::sync::lock;

/// A clock that moves only when told to, with its waiters.
#[derive(Default)]
pub(crate) struct Timers(Mutex<State>);

#[derive(Default)]
struct State {
    now: Instant,
    made: u64,
    armed: BTreeMap<(Instant, u64), Waker>,
}

impl Timers {
    pub(crate) fn now(&self) -> Instant {
        self.lock().now
    }

    /// Returns the earliest deadline; `None` without waiters.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.lock()
            .armed
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Moves the clock by that much and wakes the due waiters, the earliest first.
    pub(crate) fn advance(&self, by: Duration) {
        let now = self.now();
        self.advance_to(now + by);
    }

    /// Moves the clock to `moment` (never back) and wakes the due waiters, the earliest first.
    pub(crate) fn advance_to(&self, moment: Instant) {
        let mut state = self.lock();
        state.now = state.now.max(moment);
        let mut due = Vec::new();
        while let Some(entry) = state.armed.first_entry() {
            if entry.key().0 > moment {
                break;
            }
            due.push(entry.remove());
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn sleep_until(self: &Arc<Self>, deadline: Instant) -> Sleep {
        let mut state = self.lock();
        state.made += 1;
        Sleep {
            key: (deadline, state.made),
            timers: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

pub(crate) struct Sleep {
    key: (Instant, u64),
    timers: Arc<Timers>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.timers.lock();
        if state.now >= self.key.0 {
            return Poll::Ready(());
        }
        state.armed.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.timers.lock().armed.remove(&self.key);
        drop(waker);
    }
}

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Instant, Platform, Runtime, Timestamp};
use futures::future::{BoxFuture, FutureExt as _};
use tokio::runtime::Handle;

use crate::random::thread_random;
use crate::timers::Timers;

/// A clock that tests move by hand: tasks run on Tokio, but `now`, `wall` and `sleep` follow it.
///
/// Clones are the same clock. It starts at 2026-01-01T00:00:00Z unless told otherwise.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use aqueduct_runtime::ManualClock;
///
/// let clock = ManualClock::new();
/// let runtime = clock.runtime();
/// let hour = runtime.sleep(Duration::from_secs(3600));
/// clock.advance(Duration::from_secs(3600));
/// hour.await;
/// # }
/// ```
#[derive(Clone)]
pub struct ManualClock {
    timers: Arc<Timers>,
    epoch: Timestamp,
}

impl ManualClock {
    /// Creates a clock that stands at 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self::starting_at(epoch())
    }

    /// Creates a clock that stands at `wall`.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            timers: Arc::default(),
            epoch: wall,
        }
    }

    /// Returns a runtime that follows this clock, on the current Tokio runtime.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn runtime(&self) -> Runtime {
        Runtime::new(ManualPlatform {
            clock: self.clone(),
            handle: Handle::current(),
        })
    }

    /// Returns the time of the monotonic clock.
    pub fn now(&self) -> Instant {
        self.timers.now()
    }

    /// Returns the time of the wall clock.
    pub fn wall(&self) -> Timestamp {
        self.epoch.saturating_add(self.now().elapsed_since_origin())
    }

    /// Moves the clock forward in one step and wakes every sleep that is due. A task that sleeps
    /// again sleeps from the new time on; to give each timer its own moment, go from one
    /// [`next_timer`](Self::next_timer) to the next.
    pub fn advance(&self, by: Duration) {
        self.timers.advance(by);
    }

    /// Moves the clock forward to `moment`; never back.
    pub fn advance_to(&self, moment: Instant) {
        self.timers.advance_to(moment);
    }

    /// Returns when the earliest sleep ends; `None` if no task sleeps.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.next()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

/// Returns the start of clocks made for tests: 2026-01-01T00:00:00Z.
pub(crate) fn epoch() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

struct ManualPlatform {
    clock: ManualClock,
    handle: Handle,
}

impl Platform for ManualPlatform {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.clock.timers.sleep_until(deadline).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn random(&self) -> u64 {
        thread_random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeps_end_when_the_clock_is_moved_and_not_before() {
        let clock = ManualClock::new();
        assert_eq!(clock.wall().to_string(), "2026-01-01T00:00:00Z");
        let runtime = clock.runtime();
        let sleeper = runtime.clone();
        let mut task = runtime.spawn(async move {
            sleeper.sleep(Duration::from_secs(10)).await;
            sleeper.wall().to_string()
        });
        while clock.next_timer().is_none() {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(9));
        assert!(futures::poll!(&mut task).is_pending());
        clock.advance(Duration::from_secs(1));
        assert_eq!(task.await.unwrap(), "2026-01-01T00:00:10Z");
        assert_eq!(clock.next_timer(), None);
    }
}

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::{AbortHandle, BoxFuture, abortable};

use crate::{Effect, Error, ErrorKind, Instant, Result, Timestamp};

/// Provides time, tasks and randomness. Code takes a [`Runtime`].
pub trait Platform: Send + Sync {
    /// Returns the monotonic time, which counts suspension.
    fn now(&self) -> Instant;

    /// Returns the wall-clock time.
    fn wall(&self) -> Timestamp;

    /// Completes at `deadline`, at once if it has passed.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Spawns `task`.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Returns 64 random bits; in a simulation they come from the seed.
    fn random(&self) -> u64;
}

/// A shared platform. Everything that waits, spawns or draws random numbers takes one.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_core::Runtime;
///
/// async fn waited(runtime: &Runtime) -> Duration {
///     let began = runtime.now();
///     runtime.sleep(runtime.jitter(Duration::from_secs(1))).await;
///     runtime.now().since(began)
/// }
/// ```
#[derive(Clone)]
pub struct Runtime(Arc<dyn Platform>);

impl Runtime {
    /// Creates a runtime on a platform.
    pub fn new(platform: impl Platform + 'static) -> Self {
        Self(Arc::new(platform))
    }

    /// Returns the monotonic time, which counts suspension.
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// Returns the wall-clock time.
    pub fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    /// Waits for a duration.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep_until(self.now() + duration)
    }

    /// Waits until `deadline`.
    pub fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.0.sleep_until(deadline)
    }

    /// Spawns `future`. Dropping the task cancels it; see [`Task::detach`].
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let (answer, answered) = oneshot::channel();
        let work = AssertUnwindSafe(future).catch_unwind();
        let (work, abort) = abortable(work.map(|done| drop(answer.send(done))));
        self.0.spawn(work.map(drop).boxed());
        Task {
            answered,
            abort: Some(abort),
        }
    }

    /// Returns the output of `future`, or a `TimedOut` error that names `what` after `limit`. An
    /// output that is ready at the limit counts. The effect of the error is unknown: the call may
    /// have succeeded.
    pub async fn timeout<T>(
        &self,
        limit: Duration,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Result<T> {
        let sleep = self.sleep(limit);
        futures::pin_mut!(future);
        match futures::future::select(future, sleep).await {
            futures::future::Either::Left((answer, _)) => Ok(answer),
            futures::future::Either::Right(_) => {
                let message = format!("{what}: no response within {limit:?}");
                Err(Error::new(ErrorKind::TimedOut, message).with_effect(Effect::Unknown))
            }
        }
    }

    /// Returns 64 random bits.
    pub fn random(&self) -> u64 {
        self.0.random()
    }

    /// Returns a random duration below `limit`, or zero if `limit` is zero: full jitter.
    pub fn jitter(&self, limit: Duration) -> Duration {
        limit.mul_f64((self.random() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

/// A spawned task. Awaiting it returns its output, or an error if it panicked or its runtime has
/// ended. Dropping it cancels it.
#[must_use = "dropping a task cancels it"]
pub struct Task<T: 'static> {
    answered: oneshot::Receiver<std::thread::Result<T>>,
    abort: Option<AbortHandle>,
}

impl<T: 'static> Task<T> {
    /// Lets the task run to its end without its handle.
    pub fn detach(mut self) {
        self.abort = None;
    }
}

impl<T: Send + 'static> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.answered.poll_unpin(cx).map(|answer| match answer {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(panic)) => {
                let said = panic_message(&*panic);
                Err(Error::new(
                    ErrorKind::Internal,
                    format!("a task panicked: {said}"),
                ))
            }
            Err(oneshot::Canceled) => Err(Error::new(
                ErrorKind::Closed,
                "the runtime of a task has ended before the task",
            )),
        })
    }
}

impl<T: 'static> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }
}

/// Returns the message of a panic, if it has one.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// An exponential back-off: doubles from `first` up to `max`.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_core::Backoff;
///
/// let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
/// assert_eq!(backoff.ceiling(1), Duration::from_millis(200));
/// assert_eq!(backoff.ceiling(4), Duration::from_millis(1600));
/// assert_eq!(backoff.ceiling(20), Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// Creates a back-off that doubles from `first` up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// Returns the longest wait after `attempt` (from 1) failed.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doubled = 1u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled.max(1)).min(self.max)
    }

    /// Returns the wait after `attempt` failed, with full jitter, so that callers that failed
    /// together do not retry together.
    pub fn delay(&self, attempt: u32, runtime: &Runtime) -> Duration {
        runtime.jitter(self.ceiling(attempt))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Mutex;

    use futures::executor::block_on;

    use super::*;

    /// A platform whose sleeps end at once and whose random numbers are given.
    #[derive(Default)]
    struct Still {
        tasks: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
        random: u64,
    }

    impl Platform for Still {
        fn now(&self) -> Instant {
            Instant::default()
        }

        fn wall(&self) -> Timestamp {
            Timestamp::EPOCH
        }

        fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
            ready(()).boxed()
        }

        fn spawn(&self, task: BoxFuture<'static, ()>) {
            self.tasks.lock().unwrap().push(task);
        }

        fn random(&self) -> u64 {
            self.random
        }
    }

    #[test]
    fn an_answer_that_is_there_wins_and_a_timeout_leaves_the_effect_unknown() {
        let runtime = Runtime::new(Still::default());
        let second = Duration::from_secs(1);
        let answer = block_on(runtime.timeout(second, "the store", ready(7)));
        assert_eq!(answer.unwrap(), 7);
        let error = block_on(runtime.timeout(second, "the store", pending::<()>())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.effect(), Effect::Unknown);
        assert_eq!(error.to_string(), "the store: no response within 1s");
    }

    #[test]
    fn a_task_answers_its_panic_and_dropping_it_cancels() {
        let still = Still::default();
        let tasks = still.tasks.clone();
        let runtime = Runtime::new(still);
        let run = || {
            let all = std::mem::take(&mut *tasks.lock().unwrap());
            block_on(futures::future::join_all(all));
        };
        let well = runtime.spawn(ready(7));
        let ill = runtime.spawn(async { panic!("it broke") });
        let (sender, detached) = std::sync::mpsc::channel();
        let also = sender.clone();
        drop(runtime.spawn(async move { sender.send("cancelled") }));
        runtime.spawn(async move { also.send("detached") }).detach();
        run();
        assert_eq!(block_on(well).unwrap(), 7);
        let error: Result<()> = block_on(ill);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains("it broke"), "{error}");
        assert_eq!(detached.iter().collect::<Vec<_>>(), ["detached"]);
    }

    #[test]
    fn jitter_stays_below_its_limit() {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            let runtime = Runtime::new(Still {
                random,
                ..Still::default()
            });
            for limit in [1, 1_000_000, u64::MAX / 2].map(Duration::from_nanos) {
                assert!(runtime.jitter(limit) <= limit, "{random}, {limit:?}");
            }
            assert_eq!(runtime.jitter(Duration::ZERO), Duration::ZERO);
            assert!(runtime.jitter(Duration::MAX) <= Duration::MAX);
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let ceilings: Vec<_> = (1..=9).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(
            ceilings,
            [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000]
        );
        assert_eq!(backoff.ceiling(u32::MAX), Duration::from_secs(30));
    }
}

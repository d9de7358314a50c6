use std::time::Duration;

use aqueduct_core::{Error, Instant, Platform, Result, Runtime, Timestamp};
use futures::future::{BoxFuture, FutureExt as _};
use tokio::runtime::Handle;

use crate::clock::uptime;
use crate::random::thread_random;

/// Returns a runtime on the current Tokio runtime, which needs its time driver.
///
/// The clock counts suspension; a sleep that a suspension interrupts ends at most ten seconds of
/// uptime late.
///
/// # Panics
/// Outside of a Tokio runtime, as `tokio::spawn` does. [`try_tokio`] returns an error instead.
pub fn tokio() -> Runtime {
    on(Handle::current())
}

/// Returns a runtime on the current Tokio runtime.
///
/// # Errors
/// `Config` outside of a Tokio runtime.
pub fn try_tokio() -> Result<Runtime> {
    match Handle::try_current() {
        Ok(handle) => Ok(on(handle)),
        Err(why) => Err(
            Error::config("no Tokio runtime: call this inside of `#[tokio::main]`")
                .with_source(why),
        ),
    }
}

/// The longest that a sleep trusts Tokio's clock, which stands still while the machine sleeps.
const SLICE: Duration = Duration::from_secs(10);

fn on(handle: Handle) -> Runtime {
    Runtime::new(TokioPlatform {
        handle,
        origin: uptime(),
    })
}

struct TokioPlatform {
    handle: Handle,
    origin: Duration,
}

impl Platform for TokioPlatform {
    fn now(&self) -> Instant {
        since(self.origin)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let (handle, origin) = (self.handle.clone(), self.origin);
        async move {
            loop {
                let left = deadline.since(since(origin));
                if left.is_zero() {
                    return;
                }
                let slice = {
                    let _inside = handle.enter();
                    tokio::time::sleep(left.min(SLICE))
                };
                slice.await;
            }
        }
        .boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn random(&self) -> u64 {
        thread_random()
    }
}

fn since(origin: Duration) -> Instant {
    Instant::after_origin(uptime().saturating_sub(origin))
}

#[cfg(test)]
mod tests {
    use aqueduct_core::ErrorKind;

    use super::*;

    #[test]
    fn outside_of_tokio_is_an_error() {
        assert!(try_tokio().unwrap_err().is(ErrorKind::Config));
    }

    #[tokio::test]
    async fn a_sleep_ends_not_before_its_deadline_and_tasks_answer() {
        let runtime = tokio();
        let deadline = runtime.now() + Duration::from_millis(20);
        let sleeper = runtime.clone();
        let woke = runtime.spawn(async move {
            sleeper.sleep_until(deadline).await;
            sleeper.now()
        });
        assert!(woke.await.unwrap() >= deadline);
        assert_ne!(runtime.random(), runtime.random());
    }

    #[tokio::test]
    async fn a_panic_of_a_task_is_its_answer() {
        let task = tokio().spawn(async { panic!("no luck") });
        let error: Error = task.await.unwrap_err();
        assert_eq!(error.to_string(), "a task panicked: no luck");
    }
}

use std::time::{Duration, Instant};

use aqueduct_core::{Moment, Platform, Runtime, Timestamp};
use futures::future::{BoxFuture, FutureExt as _};
use tokio::runtime::Handle;

/// The runtime on the current Tokio runtime. Call it inside of one.
pub fn tokio() -> Runtime {
    Runtime::new(TokioPlatform {
        handle: Handle::current(),
        origin: Instant::now(),
    })
}

struct TokioPlatform {
    handle: Handle,
    origin: Instant,
}

impl Platform for TokioPlatform {
    fn now(&self) -> Moment {
        Moment::after_origin(self.origin.elapsed())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, deadline: Moment) -> BoxFuture<'static, ()> {
        let left: Duration = deadline.since(self.now());
        let _inside = self.handle.enter();
        tokio::time::sleep(left).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn random(&self) -> u64 {
        use std::hash::{BuildHasher as _, RandomState};
        RandomState::new().hash_one(self.origin.elapsed())
    }
}

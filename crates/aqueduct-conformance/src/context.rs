use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{Runtime, StreamSpec, Task};

use crate::fixture::{Fixture, Timing};
use crate::harness::Harness;
use crate::layering::LayerSet;
use crate::stop::{During as _, Outcome, Stop};

/// The environment of one case.
pub(crate) struct Context<'a> {
    pub(crate) fixture: &'a dyn Fixture,
    pub(crate) runtime: &'a Runtime,
    pub(crate) timing: Timing,
    pub(crate) layers: &'a LayerSet,
    step: Mutex<String>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        fixture: &'a dyn Fixture,
        runtime: &'a Runtime,
        layers: &'a LayerSet,
    ) -> Self {
        Self {
            fixture,
            runtime,
            timing: fixture.timing(),
            layers,
            step: Mutex::new("its first step".to_owned()),
        }
    }

    /// Opens a new stream with that many partitions.
    pub(crate) async fn harness(&self, partitions: u32) -> Outcome<Harness<'_>> {
        self.harness_of(&StreamSpec::with_partitions(partitions))
            .await
    }

    /// Opens a new stream with that specification.
    pub(crate) async fn harness_of(&self, spec: &StreamSpec) -> Outcome<Harness<'_>> {
        let opening = self.fixture.open(spec, self.runtime);
        let subject = self.within("a new stream", opening).await?;
        Ok(Harness::new(self, subject.during("opening a new stream")?))
    }

    /// Records what the case waits for, for the report if it hangs.
    pub(crate) fn step(&self, what: impl Into<String>) {
        *lock(&self.step) = what.into();
    }

    /// Returns what the case waited for last.
    pub(crate) fn last_step(&self) -> String {
        lock(&self.step).clone()
    }

    /// Awaits `future`; fails the case at the deadline.
    pub(crate) async fn within<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Outcome<T> {
        self.step(what);
        let limit = self.timing.deadline;
        self.runtime
            .timeout(limit, what, future)
            .await
            .map_err(|_| Stop::failed(format!("timed out after {limit:?} waiting for {what}")))
    }

    /// Awaits something that must not happen; returns `None` if it did not within the quiet time.
    pub(crate) async fn quiet<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let limit = self.timing.quiet;
        self.runtime.timeout(limit, "quiet", future).await.ok()
    }

    /// Calls `look` repeatedly until it returns a value.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Outcome<Option<T>>,
    ) -> Outcome<T> {
        let mut pause = Duration::from_millis(2);
        let looking = async {
            loop {
                if let Some(found) = look().await? {
                    return Ok(found);
                }
                self.runtime.sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        };
        self.within(what, looking).await?
    }

    /// Runs `future` concurrently with the case.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.runtime.spawn(future)
    }
}

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aqueduct_core::{Runtime, StreamSpec, Task};

use crate::bench::Bench;
use crate::fixture::{Fixture, Timing};
use crate::layering::LayerSet;
use crate::stop::{During as _, Outcome, Stop};

/// What one case runs with.
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

    /// A new stream of that many partitions.
    pub(crate) async fn bench(&self, partitions: u32) -> Outcome<Bench<'_>> {
        self.bench_of(&StreamSpec::with_partitions(partitions))
            .await
    }

    /// A new stream of that specification.
    pub(crate) async fn bench_of(&self, spec: &StreamSpec) -> Outcome<Bench<'_>> {
        let opening = self.fixture.open(spec, self.runtime);
        let subject = self.within("a new stream", opening).await?;
        Ok(Bench::new(self, subject.during("opening a new stream")?))
    }

    /// What the case waits for now: named when it hangs.
    pub(crate) fn step(&self, what: impl Into<String>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
    }

    /// What the case waited for last.
    pub(crate) fn last_step(&self) -> String {
        self.step
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Awaits what must come in time.
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
            .map_err(|_| Stop::failed(format!("waited {limit:?} in vain for {what}")))
    }

    /// Awaits what must not come: answers `None` when it stayed away long enough.
    pub(crate) async fn quiet<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let limit = self.timing.quiet;
        self.runtime.timeout(limit, "quiet", future).await.ok()
    }

    /// Looks again and again until `look` has an answer.
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

    /// Runs `future` beside the case.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.runtime.spawn(future)
    }
}

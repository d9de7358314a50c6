use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aqueduct_core::{Assignment, GroupName, Parts, Runtime, panic_message};
use futures::FutureExt as _;

use super::extract::{Context, Setup};
use super::metrics::Counters;
use super::outcome::Outcome;
use super::routes::{Entry, Routes};
use super::surround::{Surround, result_of, result_of_all};
use super::unhandled::ForeignRecords;
use crate::config::OnUnhandled;

/// Runs handlers: one attempt per call. A panic or a time-out becomes an outcome.
pub(crate) struct Engine {
    pub(crate) group: GroupName,
    pub(crate) routes: Arc<Routes>,
    pub(crate) setup: Setup,
    pub(crate) policy: Policy,
    pub(crate) surround: Surround,
    pub(crate) runtime: Runtime,
    pub(crate) counters: Counters,
    pub(crate) foreign: Arc<ForeignRecords>,
}

/// The options of the group that concern handling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) timeout: Duration,
    pub(crate) unhandled: Option<OnUnhandled>,
    pub(crate) concurrency: usize,
    pub(crate) drain: Duration,
}

impl Engine {
    /// Makes one attempt at one event, with the handler of that number.
    pub(crate) async fn attempt(
        &self,
        entry: Option<usize>,
        parts: &Parts,
        assignment: &Assignment,
    ) -> Outcome {
        let context = Context::new(parts, assignment, &self.setup);
        let outcome = match entry.and_then(|entry| self.routes.entry(entry)) {
            None => self.unhandled(&parts.event),
            Some(Entry::Single(handler)) => {
                let limit = handler.timeout().unwrap_or(self.policy.timeout);
                let run = async { handler.call(&context).await };
                let run = self.guarded(limit, run);
                self.surround
                    .call(&[(parts, assignment)], run, result_of)
                    .await
                    .unwrap_or_else(|failed| failed)
            }
            Some(Entry::Batch(..)) => {
                let outcomes = self.attempt_batch(entry, &[(parts, assignment)]).await;
                return outcomes.into_iter().next().unwrap_or(Outcome::retry());
            }
        };
        self.note(parts, &outcome);
        outcome
    }

    /// Makes one attempt at several events together; returns an outcome for each, in order.
    pub(crate) async fn attempt_batch(
        &self,
        entry: Option<usize>,
        items: &[(&Parts, &Assignment)],
    ) -> Vec<Outcome> {
        let Some(Entry::Batch(handler, options)) = entry.and_then(|it| self.routes.entry(it))
        else {
            let failed = Outcome::failed("no batch handler has that number".into());
            return vec![failed; items.len()];
        };
        let contexts: Vec<_> = items
            .iter()
            .map(|(parts, assignment)| Context::new(parts, assignment, &self.setup))
            .collect();
        let limit = options.timeout.unwrap_or(self.policy.timeout);
        let run = async { handler.call(&contexts, &self.setup).await };
        let run = self.guarded(limit, run);
        let outcomes = match self
            .surround
            .call(items, run, |all: &Vec<_>| result_of_all(all))
            .await
        {
            Ok(outcomes) => outcomes,
            Err(failed) => vec![failed; items.len()],
        };
        for ((parts, _), outcome) in items.iter().zip(&outcomes) {
            self.note(parts, outcome);
        }
        outcomes
    }

    /// Awaits a handler: a panic or a time-out is a failed attempt.
    async fn guarded<T>(
        &self,
        limit: Duration,
        run: impl Future<Output = T>,
    ) -> Result<T, Outcome> {
        let started = self.runtime.now();
        let run = AssertUnwindSafe(run).catch_unwind();
        futures::pin_mut!(run);
        // A handler that never waits needs no timer.
        let ended = match futures::poll!(run.as_mut()) {
            Poll::Ready(ended) => Ok(ended),
            Poll::Pending => self.runtime.timeout(limit, "the handler", run).await,
        };
        let took = self.runtime.now().since(started);
        self.counters.seconds.record(took.as_secs_f64());
        match ended {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panic)) => {
                let said = panic_message(&*panic);
                Err(Outcome::failed(format!("the handler panicked: {said}")))
            }
            Err(late) => Err(Outcome::Retry {
                after: None,
                error: Some(late),
            }),
        }
    }

    /// The reason of a rejection goes to the dead letter, not to the log: it may quote the data.
    fn note(&self, parts: &Parts, outcome: &Outcome) {
        let (id, kind) = (parts.event.id(), parts.event.kind());
        match outcome {
            Outcome::Ack => self.counters.acked.increment(1),
            Outcome::Retry { error, .. } => {
                self.counters.failed.increment(1);
                let error = error.as_ref().map(|error| error.to_string());
                tracing::warn!(group = %self.group, %id, kind, attempt = parts.attempt, error, "an attempt failed");
            }
            Outcome::Reject { .. } => {
                self.counters.rejected.increment(1);
                tracing::warn!(group = %self.group, %id, kind, attempt = parts.attempt, "an event is rejected");
            }
        }
    }
}

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Error, ErrorKind, EventClaim, IdempotencyScope, IdempotencyStore, Result, Runtime,
};
use futures::channel::oneshot;

/// The maximum number of completions in one call.
const BATCH: usize = 1000;

/// Completes claims: those that arrive during a call share the next one, so that a slow store
/// gets few calls.
pub(super) struct Completer {
    store: Arc<dyn IdempotencyStore>,
    runtime: Runtime,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    running: bool,
}

struct Waiting {
    scope: IdempotencyScope,
    claim: EventClaim,
    answer: oneshot::Sender<Result<()>>,
}

impl Completer {
    pub(super) fn new(store: Arc<dyn IdempotencyStore>, runtime: &Runtime) -> Arc<Self> {
        Arc::new(Self {
            store,
            runtime: runtime.clone(),
            queue: Mutex::default(),
        })
    }

    /// Completes one claim. It is completed even when the future is dropped.
    pub(super) async fn complete(
        self: &Arc<Self>,
        scope: IdempotencyScope,
        claim: EventClaim,
    ) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let starts = {
            let mut queue = self.queue();
            queue.waiting.push_back(Waiting {
                scope,
                claim,
                answer,
            });
            !std::mem::replace(&mut queue.running, true)
        };
        if starts {
            // A task of its own: the caller may be dropped while others share its call.
            self.runtime.spawn(self.clone().run()).detach();
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the completion was not confirmed",
            ))
        })
    }

    async fn run(self: Arc<Self>) {
        let mut running = Running {
            completer: &self,
            ended: false,
        };
        while let Some((scope, claims, answers)) = running.next() {
            let mut outcomes = self.store.complete(&scope, &claims).await.into_iter();
            for answer in answers {
                let outcome = outcomes.next().unwrap_or_else(|| {
                    Err(Error::new(
                        ErrorKind::Internal,
                        "the store returned fewer outcomes than completions",
                    ))
                });
                let _ = answer.send(outcome);
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

type Batch = (
    IdempotencyScope,
    Vec<EventClaim>,
    Vec<oneshot::Sender<Result<()>>>,
);

/// The right to call the store; given back however the task ends.
struct Running<'a> {
    completer: &'a Completer,
    /// Whether the right is given back: another task may have it already.
    ended: bool,
}

impl Running<'_> {
    /// The completions of one scope that wait, or `None` and the end of running.
    fn next(&mut self) -> Option<Batch> {
        let mut queue = self.completer.queue();
        let Some(first) = queue.waiting.pop_front() else {
            queue.running = false;
            self.ended = true;
            return None;
        };
        let scope = first.scope;
        let (mut claims, mut answers) = (vec![first.claim], vec![first.answer]);
        while claims.len() < BATCH && queue.waiting.front().is_some_and(|it| it.scope == scope) {
            if let Some(waiting) = queue.waiting.pop_front() {
                claims.push(waiting.claim);
                answers.push(waiting.answer);
            }
        }
        Some((scope, claims, answers))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // The store panicked: dropping the senders tells the waiters.
            let mut queue = self.completer.queue();
            queue.running = false;
            queue.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aqueduct_core::{Claimed, Event, Timestamp};
    use aqueduct_runtime::Simulation;
    use async_trait::async_trait;

    use super::*;

    struct Store;

    #[async_trait]
    impl IdempotencyStore for Store {
        async fn claim(&self, _: &IdempotencyScope, _: &[EventClaim]) -> Result<Vec<Claimed>> {
            Ok(Vec::new())
        }

        async fn complete(&self, _: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
            claims.iter().map(|_| Ok(())).collect()
        }

        async fn release(&self, _: &IdempotencyScope, _: &[EventClaim]) -> Vec<Result<()>> {
            Vec::new()
        }

        async fn heartbeat(&self, _: &IdempotencyScope, _: &[EventClaim]) -> Vec<Result<()>> {
            Vec::new()
        }

        async fn purge(&self, _: Timestamp) -> Result<u64> {
            Ok(0)
        }

        fn retention(&self) -> Option<Duration> {
            None
        }
    }

    #[test]
    fn a_task_that_ends_leaves_the_next_one_alone() {
        let simulation = Simulation::new(1);
        let completer = Completer::new(Arc::new(Store), &simulation.runtime());
        completer.queue().running = true;
        let mut ending = Running {
            completer: &completer,
            ended: false,
        };
        assert!(ending.next().is_none());
        // Another thread asks between its last look and its end.
        let scope = IdempotencyScope {
            group: "billing".into(),
            handlers: "default".into(),
            replay: 0,
        };
        let claim = EventClaim::new(&Event::new("x"), 1);
        let asked = simulation.block_on(async {
            let mut asked = Box::pin(completer.complete(scope, claim));
            assert!(futures::poll!(&mut asked).is_pending());
            drop(ending);
            asked.await
        });
        asked.unwrap().unwrap();
    }
}

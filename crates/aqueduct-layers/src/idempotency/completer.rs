use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqueduct_core::{
    Error, ErrorKind, EventClaim, IdempotencyScope, IdempotencyStore, Result, Runtime,
};
use futures::channel::oneshot;

/// The most completions of one call.
const BATCH: usize = 1000;

/// Completes claims: those that come while a call is under way share the next one, so that a
/// store whose call takes long is asked seldom.
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
            // A task of its own: the caller may go away while others share its call.
            self.runtime.spawn(self.clone().run()).detach();
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the completion had no answer",
            ))
        })
    }

    async fn run(self: Arc<Self>) {
        let running = Running(&self);
        while let Some((scope, claims, answers)) = running.next() {
            let mut outcomes = self.store.complete(&scope, &claims).await.into_iter();
            for answer in answers {
                let outcome = outcomes.next().unwrap_or_else(|| {
                    Err(Error::new(
                        ErrorKind::Internal,
                        "the store gave fewer answers than it was asked",
                    ))
                });
                let _ = answer.send(outcome);
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Batch = (
    IdempotencyScope,
    Vec<EventClaim>,
    Vec<oneshot::Sender<Result<()>>>,
);

/// The right to ask the store; given back however the task ends.
struct Running<'a>(&'a Completer);

impl Running<'_> {
    /// The completions of one scope that wait, or `None` and the end of running.
    fn next(&self) -> Option<Batch> {
        let mut queue = self.0.queue();
        let Some(first) = queue.waiting.pop_front() else {
            queue.running = false;
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
        let mut queue = self.0.queue();
        if queue.running {
            // The store panicked: those who wait are told, by their answers being dropped.
            queue.running = false;
            queue.waiting.clear();
        }
    }
}

use std::sync::Mutex;

use aqueduct_core::Revocation;
use event_listener::Event as Signal;

use super::lock;

/// The two steps that end a partition: a stop request, then the end of its hooks.
#[derive(Default)]
pub(super) struct Stopping {
    state: Mutex<State>,
    changed: Signal,
}

#[derive(Clone, Copy, Default)]
struct State {
    why: Option<Revocation>,
    finished: bool,
}

impl Stopping {
    /// Requests a stop; the first reason is kept.
    pub(super) fn begin(&self, why: Revocation) {
        lock(&self.state).why.get_or_insert(why);
        self.changed.notify(usize::MAX);
    }

    /// The hooks have run.
    pub(super) fn finish(&self) {
        lock(&self.state).finished = true;
        self.changed.notify(usize::MAX);
    }

    pub(super) fn why(&self) -> Option<Revocation> {
        lock(&self.state).why
    }

    pub(super) fn is_finished(&self) -> bool {
        lock(&self.state).finished
    }

    /// Waits until a stop is requested.
    pub(super) async fn begun(&self) -> Revocation {
        self.wait(|state| state.why).await
    }

    /// Waits until the hooks have run.
    pub(super) async fn finished(&self) {
        self.wait(|state| state.finished.then_some(())).await;
    }

    async fn wait<T>(&self, done: impl Fn(State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.listen();
            let state = *lock(&self.state);
            if let Some(answer) = done(state) {
                return answer;
            }
            changed.await;
        }
    }
}

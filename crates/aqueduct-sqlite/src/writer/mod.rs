mod group_commit;
mod wal_checkpoint;
mod work;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use aqueduct_core::{Effect, Error, ErrorKind, Result, panic_message};
use rusqlite::Transaction;

pub(crate) use self::group_commit::Committer;
pub(crate) use self::wal_checkpoint::Checkpoints;
pub(crate) use self::work::{Closure, Work};
use crate::readers::closed;

/// The process's one writer of a file: takes everybody's writes and commits many at once.
pub(crate) struct Writer(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    work: VecDeque<Box<dyn Work>>,
    closed: bool,
}

impl Writer {
    /// Starts the writer on a thread of its own. It ends when this is dropped, after all that was
    /// asked for before.
    pub(crate) fn start(mut committer: Committer) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let theirs = queue.clone();
        std::thread::Builder::new()
            .name("aqueduct-sqlite-write".into())
            .spawn(move || {
                while theirs.wait() {
                    // A waker or a recorder of metrics is foreign code: if it panics, those whose
                    // work was under way learn that its fate is unknown, and the writer goes on.
                    let commit = AssertUnwindSafe(|| committer.commit(|| theirs.take()));
                    if let Err(panic) = std::panic::catch_unwind(commit) {
                        let said = panic_message(&*panic);
                        tracing::error!(panic = said, "the SQLite writer panicked in a commit");
                    }
                }
            })?;
        Ok(Self(queue))
    }

    /// Asks for `work`, which answers through its own channel.
    pub(crate) fn submit(&self, work: Box<dyn Work>) {
        let mut state = self.0.lock();
        if state.closed {
            drop(state);
            work.finish(Err(closed()));
            return;
        }
        state.work.push_back(work);
        drop(state);
        self.0.wake.notify_one();
    }

    /// Runs `run` in a savepoint of the next commit, and answers once that is done.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        touches_log: bool,
        run: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (work, answer) = Closure::new(run, touches_log);
        self.submit(Box::new(work));
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Queue {
    /// Waits for work; `false` when there is none and none will come.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while state.work.is_empty() {
            if state.closed {
                return false;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    fn take(&self) -> Option<Box<dyn Work>> {
        self.lock().work.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error where the writer went away under a caller.
pub(crate) fn lost() -> Error {
    Error::new(ErrorKind::Internal, "the SQLite writer has stopped").with_effect(Effect::Unknown)
}

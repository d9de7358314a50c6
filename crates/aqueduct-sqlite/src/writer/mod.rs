mod group_commit;
mod reserve;
mod wal_checkpoint;
mod work;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aqueduct_core::sync::lock;
use aqueduct_core::{Effect, Error, ErrorKind, Result, panic_message};
use futures::channel::oneshot;
use rusqlite::Transaction;

pub(crate) use self::group_commit::Committer;
pub(crate) use self::reserve::Reserve;
pub(crate) use self::wal_checkpoint::WalCheckpoint;
pub(crate) use self::work::{Closure, Work};
use crate::readers::closed;

/// The one writer of a file in this process: it commits the work of many callers at once.
pub(crate) struct Writer(Arc<Queue>);

/// How long the writer waits at its end for the read connections, so that its own is the last.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

type Checkpointed = oneshot::Sender<Result<()>>;

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    work: VecDeque<Box<dyn Work>>,
    checkpoints: Vec<Checkpointed>,
    closed: bool,
}

impl Writer {
    /// Starts the writer on a thread of its own. It ends when this is dropped, after all work that was
    /// submitted before; `readers` is shared by the connections that should be closed before its own.
    pub(crate) fn start(mut committer: Committer, readers: Arc<()>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let theirs = queue.clone();
        std::thread::Builder::new()
            .name("aqueduct-sqlite-write".into())
            .spawn(move || {
                while theirs.wait() {
                    // A waker or a recorder of metrics is foreign code: if it panics, the callers in
                    // that commit learn that its outcome is unknown, and the writer goes on.
                    let commit = AssertUnwindSafe(|| theirs.serve(&mut committer));
                    if let Err(panic) = std::panic::catch_unwind(commit) {
                        let said = panic_message(&*panic);
                        tracing::error!(panic = said, "the SQLite writer panicked in a commit");
                    }
                }
                let deadline = Instant::now() + CLOSE_WAIT;
                while Arc::strong_count(&readers) > 1 && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(1));
                }
                committer.close();
            })?;
        Ok(Self(queue))
    }

    /// Submits `work`, which replies through its own channel.
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

    /// Copies the write-ahead log into the main file, after all work that was submitted before.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        let (reply, done) = oneshot::channel();
        {
            let mut state = self.0.lock();
            if state.closed {
                return Err(closed());
            }
            state.checkpoints.push(reply);
        }
        self.0.wake.notify_one();
        done.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Runs `run` in a savepoint of the next commit, and returns once that is durable.
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
    /// Waits for work; returns `false` once there is none and none will come.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while state.work.is_empty() && state.checkpoints.is_empty() {
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

    /// Commits work while there is some, then makes the checkpoints that were asked for.
    fn serve(&self, committer: &mut Committer) {
        let has_work = !self.lock().work.is_empty();
        if has_work {
            return committer.commit(|| self.take());
        }
        let asked = std::mem::take(&mut self.lock().checkpoints);
        if !asked.is_empty() {
            let outcome = committer.checkpoint();
            for reply in asked {
                // The caller may have gone.
                let _ = reply.send(outcome.clone());
            }
        }
    }

    fn take(&self) -> Option<Box<dyn Work>> {
        self.lock().work.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Returns the error of a caller whose writer has ended.
pub(crate) fn lost() -> Error {
    Error::new(ErrorKind::Internal, "the SQLite writer has stopped").with_effect(Effect::Unknown)
}

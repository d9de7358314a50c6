use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use aqueduct_core::sync::lock;
use aqueduct_core::{Error, ErrorKind, Result, panic_message};
use futures::channel::oneshot;
use rusqlite::Connection;

use crate::identity::FileIdentity;

/// A few read connections, each on a thread of its own.
pub(crate) struct Readers {
    queue: Arc<JobQueue>,
    file: Arc<FileIdentity>,
}

#[derive(Default)]
struct JobQueue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

type Job = Box<dyn FnOnce(&Connection) + Send>;

impl Readers {
    /// Starts a thread for each connection; each keeps a clone of `alive` until it is closed.
    pub(crate) fn start(
        connections: Vec<Connection>,
        file: Arc<FileIdentity>,
        alive: &Arc<()>,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(JobQueue::default());
        // Made first, so that the threads already started end where one cannot be started.
        let readers = Self {
            queue: queue.clone(),
            file,
        };
        for connection in connections {
            let (queue, alive) = (queue.clone(), alive.clone());
            std::thread::Builder::new()
                .name("aqueduct-sqlite-read".into())
                .spawn(move || {
                    while let Some(job) = queue.next() {
                        job(&connection);
                        end_transaction(&connection);
                    }
                    drop(connection);
                    drop(alive);
                })?;
        }
        Ok(readers)
    }

    /// Runs `read` on one of the connections.
    ///
    /// # Errors
    /// The error of `read`; `Conflict` if the file was replaced.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.file.check_now_and_then()?;
        let (reply, answer) = oneshot::channel();
        let file = self.file.clone();
        let job = move |connection: &Connection| {
            let answer = std::panic::catch_unwind(AssertUnwindSafe(|| read(connection)))
                .unwrap_or_else(|panic| {
                    let said = panic_message(&*panic);
                    Err(Error::new(
                        ErrorKind::Internal,
                        format!("a read panicked: {said}"),
                    ))
                });
            // The caller may have gone.
            let _ = reply.send(answer.map_err(|error| file.explain(error)));
        };
        {
            let mut state = self.queue.lock();
            if state.closed {
                return Err(closed());
            }
            state.jobs.push_back(Box::new(job));
        }
        self.queue.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
    }
}

impl JobQueue {
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Ends a transaction that a job left open: it would keep the write-ahead log from being emptied.
fn end_transaction(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a read transaction stays open");
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the SQLite store was closed")
}

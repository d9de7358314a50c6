use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use aqueduct_core::{Error, ErrorKind, Result, panic_message};
use futures::channel::oneshot;
use rusqlite::Connection;

/// A few read connections, each on a thread of its own.
pub(crate) struct Readers(Arc<Shared>);

#[derive(Default)]
struct Shared {
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
    pub(crate) fn start(connections: Vec<Connection>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        // Made first, so that those started end where one cannot be.
        let readers = Self(shared.clone());
        for connection in connections {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("aqueduct-sqlite-read".into())
                .spawn(move || {
                    while let Some(job) = shared.next() {
                        job(&connection);
                        end_transaction(&connection);
                    }
                })?;
        }
        Ok(readers)
    }

    /// Runs `read` on one of the connections.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
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
            let _ = reply.send(answer);
        };
        {
            let mut state = self.0.lock();
            if state.closed {
                return Err(closed());
            }
            state.jobs.push_back(Box::new(job));
        }
        self.0.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No read transaction outlives its job: it would keep the write-ahead log from being reused.
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

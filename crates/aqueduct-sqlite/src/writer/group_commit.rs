use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct_core::{Effect, Error, ErrorKind, Result};
use metrics::{counter, histogram};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::{WalCheckpoint, Work};
use crate::error::{from_commit, from_sql};
use crate::identity::FileIdentity;
use crate::jitter::Jitter;
use crate::notify::Notifier;
use crate::publishing::{Grown, Publishing};
use crate::write_lock::WriteLock;

/// The most that one commit takes, so that other processes do not wait long.
const MOST_WORK: usize = 4096;
const MOST_TIME: Duration = Duration::from_millis(25);

/// Writes the work of many callers in one transaction.
pub(crate) struct Committer {
    pub(crate) connection: Connection,
    pub(crate) write_lock: WriteLock,
    pub(crate) file: Arc<FileIdentity>,
    pub(crate) wal: WalCheckpoint,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) publishing: Arc<Publishing>,
    pub(crate) busy_timeout: Duration,
    pub(crate) jitter: Jitter,
    /// About how many bytes one commit writes at most.
    pub(crate) most_bytes: usize,
}

impl Committer {
    /// Writes the work that `next` returns, until there is none or it is enough for one commit, and
    /// replies to each caller.
    pub(crate) fn commit(&mut self, mut next: impl FnMut() -> Option<Box<dyn Work>>) {
        let begun = Instant::now();
        let guard = match self.write_lock.enter(self.busy_timeout) {
            Ok(guard) => guard,
            Err(error) => return refuse(next, &error),
        };
        let deadline = begun + self.busy_timeout;
        let opened = self
            .file
            .check()
            .and_then(|()| begin(&self.connection, &mut self.jitter, deadline));
        let tx = match opened {
            Ok(tx) => tx,
            Err(error) => return refuse(next, &self.file.explain(error)),
        };
        histogram!("aqueduct_sqlite_lock_wait_seconds").record(begun.elapsed());
        let begun = Instant::now();
        self.publishing.begin(&self.connection);
        let (mut done, written) = run(
            &tx,
            &self.file,
            &self.publishing,
            &mut next,
            (begun, self.most_bytes),
        );
        let touched =
            self.publishing.end() || done.iter().any(|(work, _)| work.may_touch_the_log());
        let mut grown = Vec::new();
        let outcome = if let Err(error) = written {
            Err(self.file.explain(error))
        } else if tx.is_autocommit() {
            // The last failure ended the transaction that all of them share.
            let error = done
                .iter()
                .rev()
                .find_map(|(_, outcome)| outcome.clone().err());
            Err(error.map_or_else(super::lost, undone))
        } else {
            grown = written.unwrap_or_default();
            tx.commit()
                .map_err(|error| self.file.explain(from_commit(error)))
        };
        if outcome.is_err() && !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // A file that was replaced during the commit may not have it.
        let outcome = outcome.and_then(|()| {
            let checked = self.file.check();
            checked.map_err(|error| error.with_effect(Effect::Unknown))
        });
        histogram!("aqueduct_sqlite_commit_seconds").record(begun.elapsed());
        counter!("aqueduct_sqlite_commits_total").increment(1);
        counter!("aqueduct_sqlite_committed_work_total").increment(done.len() as u64);
        if outcome.is_ok() {
            for (partition, next) in &grown {
                self.notifier.grown(*partition, *next);
            }
            for (work, _) in done.iter().filter(|(_, own)| own.is_ok()) {
                work.announce(&self.notifier);
            }
            if touched && let Err(error) = self.notifier.refresh(&self.connection) {
                tracing::warn!(%error, "readers will learn of new events from the poller");
            }
        }
        let is_full = |outcome: &Result<()>| {
            let error = outcome.as_ref().err();
            error.is_some_and(|error| error.is(ErrorKind::Full))
        };
        let full = is_full(&outcome) || done.iter().any(|(_, own)| is_full(own));
        for (work, own) in done.drain(..) {
            work.finish(own.and_then(|()| outcome.clone()));
        }
        if full {
            self.wal.with_reserve(&self.connection);
        } else if outcome.is_ok() {
            self.wal.after_commit(&self.connection);
        }
        drop(guard);
    }

    /// Copies the write-ahead log into the main file, so that a copy of that one file is the data.
    ///
    /// # Errors
    /// `Unavailable` where other processes keep the write lock, or a reader stays; `Conflict` where
    /// the file was replaced; `Full`.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        let guard = self.write_lock.enter(self.busy_timeout)?;
        self.file.check()?;
        let done = self
            .wal
            .truncate(&self.connection)
            .map_err(|error| from_sql(error, "copy the write-ahead log into the file"))?;
        drop(guard);
        if done {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "cannot copy the write-ahead log into the file: another program keeps a read \
             transaction open",
        ))
    }

    /// Ends the writer, and moves everything written to the main file if that is possible.
    pub(crate) fn close(mut self) {
        if let Err(error) = self.checkpoint() {
            tracing::warn!(path = %self.file.path().display(), %error, "the write-ahead log keeps data");
        }
        // The last connection removes the log and its index by name: never those of another file.
        if !self.file.is_replaced() {
            let closing = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = self.connection.set_db_config(closing, false);
        }
    }
}

type Done = Vec<(Box<dyn Work>, Result<()>)>;

/// Runs work in `tx`, then writes the events that it published for the end of the commit.
fn run(
    tx: &Transaction<'_>,
    file: &FileIdentity,
    publishing: &Publishing,
    next: &mut impl FnMut() -> Option<Box<dyn Work>>,
    (begun, most_bytes): (Instant, usize),
) -> (Done, Result<Grown>) {
    let mut done: Done = Vec::new();
    let mut grown = Grown::new();
    let mut bytes = 0;
    while bytes < most_bytes && done.len() < MOST_WORK && begun.elapsed() < MOST_TIME {
        let Some(mut work) = next() else { break };
        bytes += work.bytes();
        if work.may_touch_the_log() {
            // It may read the streams, or reshard one.
            match publishing.write(tx) {
                Ok(more) => grown.extend(more),
                Err(error) => {
                    done.push((work, Err(error.clone())));
                    return (done, Err(error));
                }
            }
        }
        let mark = publishing.mark();
        let outcome = work.run(tx).map_err(|error| file.explain(error));
        if outcome.is_err() {
            publishing.undo(mark);
        }
        done.push((work, outcome));
        if tx.is_autocommit() {
            return (done, Ok(grown));
        }
    }
    let written = publishing.write(tx);
    let written = written.map(|more| {
        grown.extend(more);
        grown
    });
    (done, written)
}

/// Returns the error for the other work of a transaction that one closure ended: it may be retried,
/// even if the error of that closure may not.
fn undone(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Full | ErrorKind::Unavailable => error,
        _ => Error::new(
            ErrorKind::Unavailable,
            format!("other work ended the transaction that it shared with this: {error}"),
        )
        .with_effect(error.effect()),
    }
}

/// Refuses the work that waits now, but not what arrives because of these replies.
fn refuse(next: impl FnMut() -> Option<Box<dyn Work>>, error: &Error) {
    let waiting: Vec<_> = std::iter::from_fn(next).collect();
    for work in waiting {
        work.finish(Err(error.clone()));
    }
}

/// Begins the transaction. Among our own processes the lock is free now; other programs, such as a
/// shell, may hold it.
fn begin<'a>(
    connection: &'a Connection,
    jitter: &mut Jitter,
    deadline: Instant,
) -> Result<Transaction<'a>> {
    loop {
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
            Ok(tx) => return Ok(tx),
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(jitter.up_to(Duration::from_millis(2)));
            }
            Err(error) if is_busy(&error) => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "a program outside of Aqueduct, such as a shell with an open transaction, has \
                     held SQLite's write lock for longer than busy_timeout",
                )
                .with_source(error));
            }
            Err(error) => return Err(from_sql(error, "lock the file for writing")),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

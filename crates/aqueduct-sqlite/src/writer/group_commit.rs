use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct_core::{Error, ErrorKind, Result};
use metrics::{counter, histogram};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::{Checkpoints, Work};
use crate::error::{from_commit, from_sql};
use crate::tails::Tails;
use crate::turn::{Dice, Turnstile};

/// One commit takes at most this much, so that nobody waits long for others.
const MOST_WORK: usize = 4096;
const MOST_TIME: Duration = Duration::from_millis(25);

/// Writes many callers' work in one transaction.
pub(crate) struct Committer {
    pub(crate) connection: Connection,
    pub(crate) turnstile: Turnstile,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) tails: Arc<Tails>,
    pub(crate) busy_timeout: Duration,
    pub(crate) dice: Dice,
    /// About how many bytes one commit writes at most.
    pub(crate) most_bytes: usize,
}

impl Committer {
    /// Writes what `next` gives until it gives none, or until it is enough for one commit, and
    /// answers each.
    pub(crate) fn commit(&mut self, mut next: impl FnMut() -> Option<Box<dyn Work>>) {
        let begun = Instant::now();
        let turn = match self.turnstile.enter(self.busy_timeout) {
            Ok(turn) => turn,
            Err(error) => return refuse(next, &error),
        };
        let deadline = begun + self.busy_timeout;
        let tx = match begin(&self.connection, &mut self.dice, deadline) {
            Ok(tx) => tx,
            Err(error) => return refuse(next, &error),
        };
        histogram!("aqueduct_sqlite_lock_wait_seconds").record(begun.elapsed());
        let begun = Instant::now();
        let (mut done, bytes) = run(&tx, &mut next, begun, self.most_bytes);
        let touched = done.iter().any(|(work, _)| work.may_touch_the_log());
        let outcome = if tx.is_autocommit() {
            // What failed last took everybody's transaction with it.
            let error = done
                .iter()
                .rev()
                .find_map(|(_, outcome)| outcome.clone().err());
            Err(error.map_or_else(super::lost, undone))
        } else {
            tx.commit().map_err(from_commit)
        };
        if outcome.is_err() && !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        histogram!("aqueduct_sqlite_commit_seconds").record(begun.elapsed());
        counter!("aqueduct_sqlite_commits_total").increment(1);
        counter!("aqueduct_sqlite_committed_work_total").increment(done.len() as u64);
        if outcome.is_ok() {
            for (work, _) in done.iter().filter(|(_, own)| own.is_ok()) {
                work.announce(&self.tails);
            }
            if touched && let Err(error) = self.tails.refresh(&self.connection) {
                tracing::warn!(%error, "readers will learn of new events by the watcher");
            }
        }
        for (work, own) in done.drain(..) {
            work.finish(own.and_then(|()| outcome.clone()));
        }
        self.checkpoints.after_commit(&self.connection, bytes);
        drop(turn);
    }
}

type Done = Vec<(Box<dyn Work>, Result<()>)>;

fn run(
    tx: &Transaction<'_>,
    next: &mut impl FnMut() -> Option<Box<dyn Work>>,
    begun: Instant,
    most_bytes: usize,
) -> (Done, usize) {
    let mut done = Vec::new();
    let mut bytes = 0;
    while bytes < most_bytes && done.len() < MOST_WORK && begun.elapsed() < MOST_TIME {
        let Some(mut work) = next() else { break };
        bytes += work.bytes();
        let outcome = work.run(tx);
        done.push((work, outcome));
        if tx.is_autocommit() {
            break;
        }
    }
    (done, bytes)
}

/// What the work of others is told where one of them ended everybody's transaction: they may try
/// again, whatever was wrong with that one.
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

/// Refuses what waits now. What comes because of an answer has not waited, so it is not among it.
fn refuse(next: impl FnMut() -> Option<Box<dyn Work>>, error: &Error) {
    let waiting: Vec<_> = std::iter::from_fn(next).collect();
    for work in waiting {
        work.finish(Err(error.clone()));
    }
}

/// Among our own processes the lock is free now; others, such as a shell, may hold it.
fn begin<'a>(
    connection: &'a Connection,
    dice: &mut Dice,
    deadline: Instant,
) -> Result<Transaction<'a>> {
    loop {
        match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
            Ok(tx) => return Ok(tx),
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(dice.up_to(Duration::from_millis(2)));
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

use std::panic::AssertUnwindSafe;

use aqueduct_core::{Effect, Error, ErrorKind, Result, panic_message};
use futures::channel::oneshot;
use rusqlite::Transaction;

use crate::notify::Notifier;

/// A write that shares a transaction with others.
pub(crate) trait Work: Send {
    /// About how many bytes it writes.
    fn bytes(&self) -> usize {
        256
    }

    /// Writes. After an error nothing of it is kept; the writes of others are.
    fn run(&mut self, tx: &Transaction<'_>) -> Result<()>;

    /// Returns whether it may have changed partitions that [`announce`](Self::announce) does not report.
    fn may_touch_the_log(&self) -> bool {
        false
    }

    /// Wakes the readers of what it wrote, after the commit.
    fn announce(&self, notifier: &Notifier) {
        let _ = notifier;
    }

    /// Replies to the caller: with the result of the work, or the error of the shared commit.
    fn finish(self: Box<Self>, committed: Result<()>);
}

/// A closure as work, in a savepoint of its own.
pub(crate) struct Closure<F, T> {
    run: Option<F>,
    answer: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
    touches_log: bool,
}

impl<F, T> Closure<F, T> {
    pub(crate) fn new(run: F, touches_log: bool) -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        let work = Self {
            run: Some(run),
            answer: None,
            reply,
            touches_log,
        };
        (work, answer)
    }
}

impl<F, T> Work for Closure<F, T>
where
    F: FnOnce(&Transaction<'_>) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, tx: &Transaction<'_>) -> Result<()> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let answer = in_savepoint(tx, run);
        let outcome = answer.as_ref().map(drop).map_err(Error::clone);
        self.answer = Some(answer);
        outcome
    }

    fn may_touch_the_log(&self) -> bool {
        self.touches_log
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let answer = match (committed, self.answer) {
            (_, Some(Err(own))) => Err(own),
            (Err(error), _) => Err(error),
            (Ok(()), Some(answer)) => answer,
            (Ok(()), None) => Err(Error::new(ErrorKind::Internal, "a write was passed over")),
        };
        // The caller may have gone; what it wrote stays.
        let _ = self.reply.send(answer);
    }
}

fn in_savepoint<T>(
    tx: &Transaction<'_>,
    run: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    use crate::error::SqlResultExt as _;

    tx.execute_batch("SAVEPOINT aqueduct_work")
        .sql("begin a savepoint")?;
    let answer = std::panic::catch_unwind(AssertUnwindSafe(|| run(tx))).unwrap_or_else(|panic| {
        let said = panic_message(&*panic);
        Err(Error::new(
            ErrorKind::Handler,
            format!("a transaction's closure panicked: {said}"),
        ))
    });
    let answer = match (answer, tx.is_autocommit()) {
        (Ok(answer), false) => tx
            .execute_batch("RELEASE aqueduct_work")
            .map(|()| answer)
            .map_err(|_| ended_by_closure()),
        (Ok(_), true) => Err(ended_by_closure()),
        (Err(error), false) => {
            match tx.execute_batch("ROLLBACK TO aqueduct_work; RELEASE aqueduct_work") {
                Ok(()) => return Err(error),
                Err(_) => Err(ended_by_closure()),
            }
        }
        // A full disk ended the shared transaction, or else the closure did.
        (Err(error), true) if error.is(ErrorKind::Full) => return Err(error),
        (Err(error), true) => Err(error.with_effect(Effect::Unknown)),
    };
    if answer.is_err() && !tx.is_autocommit() {
        // The savepoint is gone, so this is not the transaction that the others wrote in.
        let _ = tx.execute_batch("ROLLBACK");
    }
    answer
}

/// Returns the error after which the writes of others may be stored or undone.
fn ended_by_closure() -> Error {
    Error::new(
        ErrorKind::Invalid,
        "a closure ended the transaction that it shares with others",
    )
    .with_effect(Effect::Unknown)
}

use std::path::PathBuf;
use std::time::Duration;

use metrics::gauge;
use rusqlite::Connection;

/// Keeps the write-ahead log small.
///
/// SQLite's own rule copies the log into the file and then hopes for a moment without a reader to
/// begin it anew; under a steady load that moment never comes and the log grows without end. Here
/// a log that has grown past half of its limit is begun anew on purpose: new readers are steered to
/// the file itself, and the old ones are gone after one batch.
pub(crate) struct Checkpoints {
    limit: u64,
    wal: PathBuf,
    page_size: u64,
    written: u64,
}

/// How long a restart waits for the readers that are at it; one batch takes far less. A foreign
/// reader that stays longer is not waited for: the next commit tries again.
const PATIENCE: Duration = Duration::from_millis(200);

impl Checkpoints {
    pub(crate) fn new(limit: u64, wal: PathBuf, connection: &Connection) -> rusqlite::Result<Self> {
        let page_size: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        Ok(Self {
            limit,
            wal,
            page_size: page_size.max(512) as u64,
            written: 0,
        })
    }

    /// To be called after each commit, in the turn, with about what it wrote.
    pub(crate) fn after_commit(&mut self, connection: &Connection, bytes: usize) {
        // Every commit touches some pages beside the events'.
        self.written += bytes as u64 + 4 * self.page_size;
        // Other processes write too: a log that has grown far is looked at earlier.
        let is_due = self.written >= self.limit / 4
            || self.written >= self.limit / 16 && self.size() >= self.limit / 2;
        if !is_due {
            return;
        }
        self.written = 0;
        if let Err(error) = self.checkpoint(connection) {
            tracing::warn!(%error, "the write-ahead log could not be checkpointed");
        }
        gauge!("aqueduct_sqlite_wal_bytes").set(self.size() as f64);
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |file| file.len())
    }

    fn checkpoint(&self, connection: &Connection) -> rusqlite::Result<()> {
        let frames = run(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
        // One that was begun anew keeps its length.
        let size = self.size().max(frames * (self.page_size + 24));
        if size < self.limit / 2 {
            return Ok(());
        }
        connection.busy_timeout(PATIENCE)?;
        // TRUNCATE is RESTART that gives the disk its room back too.
        let restarted = run(connection, "PRAGMA wal_checkpoint(TRUNCATE)");
        connection.busy_timeout(Duration::ZERO)?;
        let left = restarted? * (self.page_size + 24);
        if left > self.limit {
            tracing::warn!(
                wal = %self.wal.display(),
                bytes = left,
                limit = self.limit,
                "a reader that is not ours keeps a transaction open: the write-ahead log grows"
            );
        }
        Ok(())
    }
}

/// Runs a checkpoint; answers how many frames are in the log.
fn run(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection.query_row(pragma, [], |row| Ok(row.get::<_, i64>(1)?.max(0) as u64))
}

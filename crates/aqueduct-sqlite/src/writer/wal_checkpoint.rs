use std::path::PathBuf;
use std::time::Duration;

use metrics::gauge;
use rusqlite::Connection;

use super::reserve::{Reserve, Room};

/// Keeps the write-ahead log small.
///
/// SQLite's own rule copies the log into the main file and then waits for an instant without a reader
/// to begin the log again; under a steady load that instant never comes and the log grows without end.
/// Here a log that has reached a quarter of its limit is emptied on purpose: new readers are steered to
/// the main file, and the old ones are gone after one batch. The size of the log is read from the disk,
/// so the writes of every process count.
pub(crate) struct WalCheckpoint {
    limit: u64,
    wal: PathBuf,
    reserve: Reserve,
    /// The size at which the next checkpoint is due.
    due: u64,
}

/// The longest wait for readers; one batch takes far less. A foreign reader that stays longer is not
/// waited for: a later commit tries again.
const READER_WAIT: Duration = Duration::from_millis(200);

/// A log below this size is not emptied to save room on a disk that is nearly full: each commit would
/// wait for a checkpoint.
const SMALLEST: u64 = 256 << 10;

impl WalCheckpoint {
    pub(crate) fn new(limit: u64, wal: PathBuf, reserve: Reserve) -> Self {
        Self {
            limit,
            wal,
            reserve,
            due: limit / 4,
        }
    }

    /// Empties the log if that is due. Call it after each commit, under the write lock.
    pub(crate) fn after_commit(&mut self, connection: &Connection) {
        let size = self.size();
        if self.reserve.cover(size) == Room::Short && size >= SMALLEST {
            self.with_reserve(connection);
        } else if size >= self.due {
            self.attempt(connection);
        }
    }

    /// Empties the log with the reserved room, after a commit found the disk full.
    pub(crate) fn with_reserve(&mut self, connection: &Connection) {
        self.reserve.release();
        self.attempt(connection);
        self.reserve.cover(self.size());
    }

    /// Copies the log into the main file and truncates it. Returns `false` where a reader that stays
    /// prevented it.
    pub(crate) fn truncate(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        if self.size() == 0 {
            return Ok(true);
        }
        // Stored with this checkpoint, so that an older copy of the main file can be told from it. On
        // a full disk the checkpoint matters more.
        let _ = connection
            .prepare_cached("UPDATE aqueduct_file SET checkpoints = checkpoints + 1")
            .and_then(|mut count| count.execute([]));
        connection.busy_timeout(READER_WAIT)?;
        let done = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            Ok(row.get::<_, i64>(0)? == 0)
        });
        connection.busy_timeout(Duration::ZERO)?;
        let done = done?;
        if done {
            self.due = self.limit / 4;
            self.reserve.shrink();
        }
        Ok(done)
    }

    fn attempt(&mut self, connection: &Connection) {
        match self.truncate(connection) {
            Ok(true) => {}
            Ok(false) => self.postpone(),
            Err(error) => {
                self.postpone();
                tracing::warn!(wal = %self.wal.display(), %error, "cannot empty the write-ahead log");
            }
        }
        gauge!("aqueduct_sqlite_wal_bytes").set(self.size() as f64);
    }

    /// Every commit would wait for the same reader, so the log may grow before the next attempt.
    fn postpone(&mut self) {
        let size = self.size();
        self.due = size + self.limit / 16;
        if size > self.limit {
            tracing::warn!(
                wal = %self.wal.display(),
                bytes = size,
                limit = self.limit,
                "another program keeps a read transaction open, or the disk is full: the write-ahead \
                 log exceeds wal_limit"
            );
        }
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |file| file.len())
    }
}

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use aqueduct_core::sync::lock;
use aqueduct_core::{Effect, Error, ErrorKind, Result, Retry, Url};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::from_io;

/// Recognises the file that was opened, and notices when its path leads elsewhere.
///
/// SQLite keeps writing to a file that was removed, renamed or overwritten under it. Such writes are
/// lost, or destroy the file that was put in its place, so from then on every call fails and nothing
/// is written. Two things identify the file: device and inode, and a random id stored in it with a
/// count of checkpoints, which tells an older copy from the file itself.
pub(crate) struct FileIdentity {
    path: PathBuf,
    inode: Option<(u64, u64)>,
    /// `None` if the main file could not be read on its own when it was opened.
    stored: Option<String>,
    seen: Mutex<Seen>,
    replaced: OnceLock<Error>,
}

struct Seen {
    at: Instant,
    /// Time of the last change and size: another value means that the main file was written.
    change: Option<(SystemTime, u64)>,
    checkpoints: i64,
}

/// Readers check this often; writers check around each commit.
const EVERY: Duration = Duration::from_secs(1);

/// How often a file that seems damaged is checked before it is called so.
const CHECKS_OF_DAMAGE: u32 = 20;

impl FileIdentity {
    /// Remembers the file at `path`, which `connection` has open. To be called under the write lock.
    pub(crate) fn of(path: &Path, connection: &Connection) -> Result<Self> {
        let read = |error| crate::error::from_open(error, path);
        let id: String = connection
            .query_row("SELECT identity FROM aqueduct_file", [], |row| row.get(0))
            .map_err(read)?;
        let mut stored = read_main(path).ok();
        if stored.as_ref().is_none_or(|(known, _)| *known != id) {
            // The tables of a new file are in the write-ahead log alone.
            connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                .map_err(read)?;
            stored = read_main(path).ok().filter(|(known, _)| *known == id);
        }
        let found = path
            .metadata()
            .map_err(|error| from_io(error, path, "read the file's inode"))?;
        Ok(Self {
            path: path.to_owned(),
            inode: inode_of(&found),
            seen: Mutex::new(Seen {
                at: Instant::now(),
                change: None,
                checkpoints: stored.as_ref().map_or(0, |(_, checkpoints)| *checkpoints),
            }),
            stored: stored.map(|(id, _)| id),
            replaced: OnceLock::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file was found replaced. It stays so until it is opened again.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.get().is_some()
    }

    /// Checks that the path still leads to the file that was opened.
    ///
    /// # Errors
    /// `Conflict`, not retryable, if it does not.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(error) = self.replaced.get() {
            return Err(error.clone());
        }
        let found = match self.path.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(self.replace("was removed or renamed"));
            }
            Err(error) => return Err(from_io(error, &self.path, "check the file's inode")),
        };
        if inode_of(&found) != self.inode {
            return Err(self.replace("was replaced by another file"));
        }
        let mut seen = lock(&self.seen);
        seen.at = Instant::now();
        let change = found.modified().ok().map(|time| (time, found.len()));
        if change == seen.change {
            return Ok(());
        }
        // Every checkpoint changes the file too, so its content decides.
        let Some(stored) = &self.stored else {
            return Ok(());
        };
        match read_main(&self.path) {
            Ok((id, checkpoints)) if id == *stored && checkpoints >= seen.checkpoints => {
                seen.change = change;
                seen.checkpoints = checkpoints;
                Ok(())
            }
            Ok(_) => Err(self.replace("was overwritten with another database or an older copy")),
            Err(error) if is_foreign(&error) => {
                Err(self.replace("was overwritten with something else"))
            }
            // Another process may be writing a checkpoint: the next check decides.
            Err(_) => Ok(()),
        }
    }

    /// Checks if the last check is more than a second ago.
    pub(crate) fn check_now_and_then(&self) -> Result<()> {
        let is_due = {
            let seen = lock(&self.seen);
            seen.at.elapsed() >= EVERY
        };
        match self.replaced.get() {
            Some(error) => Err(error.clone()),
            None if is_due => self.check(),
            None => Ok(()),
        }
    }

    /// Returns `Conflict` instead of `error` where the file seems damaged because it was replaced.
    ///
    /// A copy over the file is seen half done too, so the file is checked until it is whole again or
    /// stays damaged. Blocks for up to a second, with damaged files only.
    pub(crate) fn explain(&self, error: Error) -> Error {
        if !error.is(ErrorKind::Corrupt) {
            return error;
        }
        for _ in 0..CHECKS_OF_DAMAGE {
            lock(&self.seen).change = None;
            if let Err(replaced) = self.check() {
                return replaced;
            }
            std::thread::sleep(EVERY / CHECKS_OF_DAMAGE);
        }
        error
    }

    fn replace(&self, what: &str) -> Error {
        let error = Error::new(
            ErrorKind::Conflict,
            format!(
                "{}: the file {what} while it was open. Nothing more is written to it: stop every \
                 process that uses it, put the right file in place (without the -wal and -shm files \
                 of another), and start again",
                self.path.display()
            ),
        )
        .with_retry(Retry::Never)
        .with_effect(Effect::None);
        if self.replaced.set(error.clone()).is_ok() {
            tracing::error!(%error, "the database file was replaced");
        }
        error
    }
}

#[cfg(unix)]
fn inode_of(found: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((found.dev(), found.ino()))
}

/// An open file cannot be replaced on other systems.
#[cfg(not(unix))]
fn inode_of(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Reads id and number of checkpoints from the main file, without the write-ahead log.
///
/// It is read through SQLite: closing a file of our own would release the locks that SQLite holds on
/// it in this process.
fn read_main(path: &Path) -> rusqlite::Result<(String, i64)> {
    let mut url =
        Url::from_file_path(path).map_err(|()| rusqlite::Error::InvalidPath(path.to_owned()))?;
    url.set_query(Some("immutable=1&mode=ro"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(url.as_str(), flags)?.query_row(
        "SELECT identity, checkpoints FROM aqueduct_file",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Returns whether the error says that the file is not a database, or lacks Aqueduct's tables.
fn is_foreign(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqlInputError { .. } | rusqlite::Error::QueryReturnedNoRows => true,
        _ => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::NotADatabase | ErrorCode::Unknown)
        ),
    }
}

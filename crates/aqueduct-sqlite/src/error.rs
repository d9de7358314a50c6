use std::path::Path;
use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Result, Retry};
use rusqlite::ErrorCode;

/// Turns errors of SQL into those of Aqueduct, so that a closure passed to
/// [`SqliteStore::transaction`](crate::SqliteStore::transaction) can use `?`.
///
/// ```
/// use aqueduct_sqlite::{SqlResultExt as _, rusqlite};
///
/// fn charge(tx: &rusqlite::Transaction<'_>, order: &str) -> aqueduct_core::Result<()> {
///     tx.execute("INSERT INTO charges (id) VALUES (?1)", [order])
///         .sql("charge an order")?;
///     Ok(())
/// }
/// ```
pub trait SqlResultExt<T> {
    /// Turns an error of SQL into one of Aqueduct; `what` names the failed action.
    ///
    /// # Errors
    /// `Full` if the disk is full, `Denied` if the file may not be written, `Unavailable` if it is
    /// locked, `Corrupt` if it is damaged, `Conflict` for a violated constraint, `NotFound` if a row
    /// was expected, otherwise `Internal`.
    fn sql(self, what: &'static str) -> Result<T>;
}

impl<T> SqlResultExt<T> for rusqlite::Result<T> {
    fn sql(self, what: &'static str) -> Result<T> {
        self.map_err(|error| from_sql(error, what))
    }
}

/// How long to wait before a write to a full disk is tried again.
const FULL_WAIT: Duration = Duration::from_secs(1);

/// Returns the error of a statement. It has no effect, since its transaction has not been committed.
pub(crate) fn from_sql(error: rusqlite::Error, what: &str) -> Error {
    let (kind, why) = classify(&error);
    let made = Error::new(kind, format!("{what}: {why}"));
    let made = match kind {
        // A violated constraint fails again; a conflict with another writer does not.
        _ if is_constraint(&error) => made.with_retry(Retry::Never),
        // Room comes back when something is removed, so callers wait for it.
        ErrorKind::Full => made.with_retry(Retry::After(FULL_WAIT)),
        _ => made,
    };
    made.with_source(error)
}

/// Returns the error of a COMMIT. After a failed write, the transaction may be found stored after a crash.
/// A deferred constraint does not say whose write violated it, so the rest may be retried.
pub(crate) fn from_commit(error: rusqlite::Error) -> Error {
    let nothing = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::ConstraintViolation
        )
    );
    let constraint = is_constraint(&error);
    let mut made = from_sql(error, "commit");
    if constraint {
        made = made.with_retry(Retry::Now);
    }
    if nothing {
        made
    } else {
        made.with_effect(Effect::Unknown)
    }
}

/// Returns the error of opening the file at `path`, which it names.
pub(crate) fn from_open(error: rusqlite::Error, path: &Path) -> Error {
    let (kind, why) = classify(&error);
    Error::new(kind, format!("{}: {why}", path.display())).with_source(error)
}

/// Returns the error of the file system at `path`.
pub(crate) fn from_io(error: std::io::Error, path: &Path, what: &str) -> Error {
    use std::io::ErrorKind as Io;
    let (kind, hint) = match error.kind() {
        _ if is_open_limit(&error) => (ErrorKind::Unavailable, OPEN_LIMIT_HINT),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => (
            ErrorKind::Denied,
            "; the file and its folder must be writable, for readers too",
        ),
        Io::NotFound => (ErrorKind::NotFound, ""),
        Io::StorageFull | Io::QuotaExceeded => (ErrorKind::Full, ""),
        Io::NotADirectory => (ErrorKind::Config, "; a part of the path is a file"),
        _ => (ErrorKind::Unavailable, ""),
    };
    Error::new(
        kind,
        format!("{}: cannot {what}: {error}{hint}", path.display()),
    )
    .with_source(error)
}

/// Returns the error of a file that cannot be opened for writing since too many files are open.
pub(crate) fn open_limit(path: &Path) -> Error {
    let message = format!("{}: too many open files{OPEN_LIMIT_HINT}", path.display());
    Error::new(ErrorKind::Unavailable, message)
}

const OPEN_LIMIT_HINT: &str =
    "; raise the limit of open files of the process (ulimit -n), or open fewer";

/// Whether the process, or the machine, has as many files open as it may.
fn is_open_limit(error: &std::io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    cfg!(unix) && matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Whether files cannot be opened now because of that limit: SQLite does not tell it from a file that
/// may not be opened.
fn at_open_limit() -> bool {
    std::fs::File::open("/dev/null").is_err_and(|error| is_open_limit(&error))
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn classify(error: &rusqlite::Error) -> (ErrorKind, String) {
    let Some(code) = error.sqlite_error_code() else {
        let kind = match error {
            rusqlite::Error::QueryReturnedNoRows => ErrorKind::NotFound,
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => ErrorKind::Corrupt,
            _ => ErrorKind::Internal,
        };
        return (kind, error.to_string());
    };
    let (kind, why) = match code {
        ErrorCode::DiskFull => (
            ErrorKind::Full,
            "the disk, or the file's own limit, is full; nothing of it was stored",
        ),
        ErrorCode::ReadOnly => (
            ErrorKind::Denied,
            "the file, or its folder, is read-only; both must be writable, for readers too",
        ),
        ErrorCode::CannotOpen if at_open_limit() => (
            ErrorKind::Unavailable,
            "too many open files; raise the limit of the process (ulimit -n), or open fewer",
        ),
        ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::AuthorizationForStatementDenied => (
            ErrorKind::Denied,
            "the file cannot be opened; it and its folder must be readable and writable",
        ),
        ErrorCode::NotADatabase => (ErrorKind::Corrupt, "the file is not a SQLite database"),
        ErrorCode::DatabaseCorrupt => (ErrorKind::Corrupt, "the file is damaged"),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => (
            ErrorKind::Unavailable,
            "another program holds the lock of the file",
        ),
        ErrorCode::SystemIoFailure => (ErrorKind::Unavailable, "the disk failed"),
        ErrorCode::ConstraintViolation => (ErrorKind::Conflict, "a constraint is violated"),
        ErrorCode::TooBig => (ErrorKind::TooLarge, "it is larger than SQLite takes"),
        _ => return (ErrorKind::Internal, error.to_string()),
    };
    (kind, format!("{why} ({error})"))
}

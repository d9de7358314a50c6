use std::path::Path;

use aqueduct_core::{Effect, Error, ErrorKind, Result, Retry};
use rusqlite::ErrorCode;

/// Turns the errors of SQL into those of Aqueduct, so that a closure of
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
    /// The same, an error of SQL turned into Aqueduct's; `what` says what was tried.
    ///
    /// # Errors
    /// `Full` where there is no room, `Denied` where the file may not be written, `Unavailable`
    /// where it is locked, `Corrupt` where it is damaged, `Conflict` for a violated constraint,
    /// `NotFound` where a row was expected, else `Internal`.
    fn sql(self, what: &'static str) -> Result<T>;
}

impl<T> SqlResultExt<T> for rusqlite::Result<T> {
    fn sql(self, what: &'static str) -> Result<T> {
        self.map_err(|error| from_sql(error, what))
    }
}

/// The error of a statement: nothing of it stays, since its transaction has not been committed.
pub(crate) fn from_sql(error: rusqlite::Error, what: &str) -> Error {
    let (kind, why) = classify(&error);
    let made = Error::new(kind, format!("{what}: {why}"));
    // A violated constraint fails again; what changed under us does not.
    let made = if is_constraint(&error) {
        made.with_retry(Retry::Never)
    } else {
        made
    };
    made.with_source(error)
}

/// The error of a COMMIT: what failed while writing may be found written after a crash. Where a
/// constraint was put off until now, nobody can tell whose it was: trying again may help the rest.
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

/// The error of opening the file at `path`, which names it.
pub(crate) fn from_open(error: rusqlite::Error, path: &Path) -> Error {
    let (kind, why) = classify(&error);
    Error::new(kind, format!("{}: {why}", path.display())).with_source(error)
}

/// The error of the file system at `path`.
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
        ErrorCode::NotADatabase => (ErrorKind::Corrupt, "the file is no SQLite database"),
        ErrorCode::DatabaseCorrupt => (ErrorKind::Corrupt, "the file is damaged"),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => (
            ErrorKind::Unavailable,
            "somebody else holds the file's lock",
        ),
        ErrorCode::SystemIoFailure => (ErrorKind::Unavailable, "the disk failed"),
        ErrorCode::ConstraintViolation => (ErrorKind::Conflict, "a constraint is violated"),
        ErrorCode::TooBig => (ErrorKind::TooLarge, "it is larger than SQLite takes"),
        _ => return (ErrorKind::Internal, error.to_string()),
    };
    (kind, format!("{why} ({error})"))
}

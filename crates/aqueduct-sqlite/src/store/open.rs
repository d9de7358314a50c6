use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Result, Runtime};
use futures::channel::oneshot;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Inner, SqliteStore};
use crate::config::{SqliteOptions, SyncMode};
use crate::error::{from_io, from_open, open_limit};
use crate::handle_once::Handled;
use crate::handled_records::index_age;
use crate::identity::FileIdentity;
use crate::jitter::Jitter;
use crate::notify::Notifier;
use crate::outbox::OutboxState;
use crate::processes::Process;
use crate::publishing::Publishing;
use crate::readers::Readers;
use crate::schema::{MIGRATIONS, migrate};
use crate::write_lock::WriteLock;
use crate::writer::{Committer, Reserve, WalCheckpoint, Writer};
use crate::{filesystem, poller, retention};

/// One read connection would make a slow batch hold up the others; more than two keep more cores
/// busy than a log's readers need.
const READERS: usize = 2;

/// How long a reader waits while SQLite locks all connections out: recovery after a crash, the switch to
/// WAL mode.
const EXCLUSIVE_WAIT: Duration = Duration::from_secs(5);

pub(super) async fn open(
    path: PathBuf,
    options: SqliteOptions,
    runtime: Runtime,
) -> Result<SqliteStore> {
    options.validate()?;
    let (reply, opened) = oneshot::channel();
    std::thread::Builder::new()
        .name("aqueduct-sqlite-open".into())
        .spawn(move || {
            // The caller may have gone; then the store is closed again.
            let _ = reply.send(open_here(path, options, runtime));
        })
        .map_err(|error| no_thread(&error))?;
    let store = opened
        .await
        .unwrap_or_else(|_| Err(crate::writer::lost()))?;
    retention::start(&store).await?;
    Ok(store)
}

fn open_here(path: PathBuf, options: SqliteOptions, runtime: Runtime) -> Result<SqliteStore> {
    let path = place(&path, &options)?;
    let locks = with_suffix(&path, "-locks");
    create_folder(&locks)?;
    let mut write_lock = WriteLock::open(&locks, runtime.random())?;
    let reserve = Reserve::open(&locks)?;
    let Connections {
        writer,
        poller,
        readers,
        file,
    } = {
        // One process at a time creates, switches to WAL mode and migrates.
        let _guard = write_lock.enter(options.busy_timeout)?;
        match Connections::open(&path, &options) {
            Err(error) if error.is(ErrorKind::Full) => {
                // What is reserved for checkpoints is enough to open the file and make one.
                reserve.release();
                Connections::open(&path, &options)?
            }
            opened => opened?,
        }
    };
    let process = Process::announce(&locks, runtime.random())?;
    let file = Arc::new(file);
    let notifier = Arc::new(Notifier::default());
    let publishing = Arc::new(Publishing::default());
    let alive = Arc::new(());
    let committer = Committer {
        connection: writer,
        write_lock,
        file: file.clone(),
        wal: WalCheckpoint::new(options.wal_limit, with_suffix(&path, "-wal"), reserve),
        notifier: notifier.clone(),
        publishing: publishing.clone(),
        busy_timeout: options.busy_timeout,
        jitter: Jitter::seeded(runtime.random()),
        most_bytes: most_bytes(&options),
    };
    let inner = Inner {
        readers: Readers::start(readers, file.clone(), &alive)
            .map_err(|error| no_thread(&error))?,
        writer: Writer::start(committer, alive.clone()).map_err(|error| no_thread(&error))?,
        notifier: notifier.clone(),
        process,
        outbox: OutboxState::default(),
        handled: Handled::default(),
        publishing,
        source: std::sync::OnceLock::new(),
        path,
        options,
        runtime,
    };
    poller::start(poller, notifier, file, alive).map_err(|error| no_thread(&error))?;
    Ok(SqliteStore(Arc::new(inner)))
}

/// The connections of one store, and the file that they have open.
struct Connections {
    writer: Connection,
    poller: Connection,
    readers: Vec<Connection>,
    file: FileIdentity,
}

impl Connections {
    fn open(path: &Path, options: &SqliteOptions) -> Result<Self> {
        let writer = connect(path, options)?;
        prepare(&writer, path, options)?;
        let file = FileIdentity::of(path, &writer)?;
        let poller = connect(path, options)?;
        read_only(&poller, path)?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let reader = connect(path, options)?;
            read_only(&reader, path)?;
            readers.push(reader);
        }
        Ok(Self {
            writer,
            poller,
            readers,
            file,
        })
    }
}

/// About how many bytes one commit, and one batch of a producer, writes at most.
pub(crate) fn most_bytes(options: &SqliteOptions) -> usize {
    (options.wal_limit / 8).min(4 << 20) as usize
}

/// Resolves the path: folder and links, so that one file has one name.
fn place(path: &Path, options: &SqliteOptions) -> Result<PathBuf> {
    let missing = |what: &str| {
        Error::new(
            ErrorKind::NotFound,
            format!("{}: {what}, and create = \"never\"", path.display()),
        )
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.exists() {
        if !options.create {
            return Err(missing("its folder does not exist"));
        }
        create_folder(folder)?;
    }
    if !options.allow_network {
        crate::filesystem::check_local(folder)?;
    }
    if path.is_dir() {
        return Err(Error::config(format!(
            "{}: is a folder; name a file in it",
            path.display()
        )));
    }
    if path.exists() {
        return path
            .canonicalize()
            .map_err(|error| from_io(error, path, "resolve the path"));
    }
    if !options.create {
        return Err(missing("the file does not exist"));
    }
    let folder = folder
        .canonicalize()
        .map_err(|error| from_io(error, folder, "resolve the folder"))?;
    match path.file_name() {
        Some(name) => Ok(folder.join(name)),
        None => Err(Error::config(format!("{}: names no file", path.display()))),
    }
}

/// Opens a connection. The file is never opened by other means: closing it would release the locks that
/// SQLite holds on it in this process.
fn connect(path: &Path, options: &SqliteOptions) -> Result<Connection> {
    let named = |error| from_open(error, path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(named)?;
    let sync = match options.sync {
        SyncMode::Full => "FULL",
        SyncMode::Normal => "NORMAL",
    };
    if connection.is_readonly("main").map_err(named)? {
        // SQLite falls back to reading if the process may not open one more file.
        if filesystem::is_writable(path) {
            return Err(open_limit(path));
        }
        return Err(Error::new(
            ErrorKind::Denied,
            format!(
                "{}: the file is read-only; it and its folder must be writable, for readers too",
                path.display()
            ),
        ));
    }
    connection.busy_timeout(EXCLUSIVE_WAIT).map_err(named)?;
    for config in [
        // Plans do not depend on bound values, so that a cached statement is compiled once.
        DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG,
        // Closing would write to the file, and remove its log, even where another took its place.
        DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
    ] {
        connection.set_db_config(config, true).map_err(named)?;
    }
    // Savepoints copy pages into a temporary file otherwise.
    connection
        .pragma_update(None, "temp_store", "MEMORY")
        .map_err(named)?;
    connection
        .pragma_update(None, "synchronous", sync)
        .map_err(named)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn prepare(writer: &Connection, path: &Path, options: &SqliteOptions) -> Result<()> {
    let named = |error| from_open(error, path);
    let mode: String = writer
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(named)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{}: cannot be switched to WAL mode", path.display()),
        ));
    }
    migrate(writer, MIGRATIONS).map_err(|error| error.context(path.display()))?;
    if options.idempotency_retention.is_some() {
        index_age(writer).map_err(named)?;
    }
    // The writer has its own rules for waiting and for checkpoints.
    writer.busy_timeout(Duration::ZERO).map_err(named)?;
    writer
        .pragma_update(None, "wal_autocheckpoint", 0)
        .map_err(named)
}

fn read_only(connection: &Connection, path: &Path) -> Result<()> {
    connection
        .pragma_update(None, "query_only", true)
        .map_err(|error| from_open(error, path))
}

fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| from_io(error, folder, "create the folder"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("cannot start a thread for the SQLite store: {error}"),
    )
}

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Result, Runtime};
use futures::channel::oneshot;
use rusqlite::{Connection, OpenFlags};

use super::{Inner, SqliteStore};
use crate::config::{SqliteOptions, SyncMode};
use crate::error::{from_io, from_open};
use crate::outbox::OutboxSignal;
use crate::processes::Process;
use crate::readers::Readers;
use crate::schema::{MIGRATIONS, migrate};
use crate::tails::Tails;
use crate::turn::{Dice, Turnstile};
use crate::writer::{Checkpoints, Committer, Writer};
use crate::{retention, watch};

/// One read connection would make a slow batch hold up the others; more than two keep more cores
/// busy than a log's readers need.
const READERS: usize = 2;

/// How long a reader waits for the moments in which SQLite locks everybody out: recovery after a
/// crash, the switch to WAL.
const READER_PATIENCE: Duration = Duration::from_secs(5);

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
            // The caller may have gone; the store is closed again then.
            let _ = reply.send(open_here(path, options, runtime));
        })
        .map_err(|error| no_thread(&error))?;
    let store = opened
        .await
        .unwrap_or_else(|_| Err(crate::writer::lost()))?;
    retention::start(&store);
    Ok(store)
}

fn open_here(path: PathBuf, options: SqliteOptions, runtime: Runtime) -> Result<SqliteStore> {
    let path = place(&path, &options)?;
    check_header(&path)?;
    let locks = with_suffix(&path, "-locks");
    create_folder(&locks)?;
    let mut turnstile = Turnstile::open(&locks, runtime.random())?;
    let connect = || connect(&path, &options);
    let (writer, watcher, readers) = {
        // One process at a time creates, switches to WAL and migrates.
        let _turn = turnstile.enter(options.busy_timeout)?;
        let writer = connect()?;
        prepare(&writer, &path)?;
        let watcher = connect()?;
        read_only(&watcher, &path)?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let reader = connect()?;
            read_only(&reader, &path)?;
            readers.push(reader);
        }
        (writer, watcher, readers)
    };
    let process = Process::announce(&locks, runtime.random())?;
    let named = |error| from_open(error, &path);
    let tails = Arc::new(Tails::default());
    let checkpoints =
        Checkpoints::new(options.wal_limit, with_suffix(&path, "-wal"), &writer).map_err(named)?;
    let committer = Committer {
        connection: writer,
        turnstile,
        checkpoints,
        tails: tails.clone(),
        busy_timeout: options.busy_timeout,
        dice: Dice::seeded(runtime.random()),
        most_bytes: most_bytes(&options),
    };
    let inner = Inner {
        writer: Writer::start(committer).map_err(|error| no_thread(&error))?,
        readers: Readers::start(readers).map_err(|error| no_thread(&error))?,
        tails: tails.clone(),
        process,
        outbox: OutboxSignal::default(),
        path: path.clone(),
        options,
        runtime,
    };
    watch::start(watcher, tails, path).map_err(|error| no_thread(&error))?;
    Ok(SqliteStore(Arc::new(inner)))
}

/// About how many bytes one commit, and one batch of a producer, writes at most.
pub(crate) fn most_bytes(options: &SqliteOptions) -> usize {
    (options.wal_limit / 8).min(4 << 20) as usize
}

/// The file's one name, with folder and links resolved.
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

/// SQLite would tell only at the first statement, and in its own words.
fn check_header(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut header = [0; 16];
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| from_io(error, path, "open the file for reading and writing"))?;
    let mut read = 0;
    while read < header.len() {
        match (&file).read(&mut header[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) => return Err(from_io(error, path, "read the file")),
        }
    }
    if read == 0 || &header == b"SQLite format 3\0" {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("{}: the file is no SQLite database", path.display()),
    ))
}

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
    connection.busy_timeout(READER_PATIENCE).map_err(named)?;
    connection
        .pragma_update(None, "synchronous", sync)
        .map_err(named)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn prepare(writer: &Connection, path: &Path) -> Result<()> {
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
    // The writer waits by its own rules, and makes its own checkpoints.
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

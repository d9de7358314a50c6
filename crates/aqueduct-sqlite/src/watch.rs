use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::tails::Tails;

/// Looks this often while other processes write: what they commit is seen within a millisecond
/// or two.
const BUSY: Duration = Duration::from_millis(1);

/// Looks this often when nothing happens: some 30 looks a second are far below 1% of a core, and the
/// first event after a rest is seen as fast as people notice.
const IDLE: Duration = Duration::from_millis(30);

/// Starts the file's one watcher in this process, on a thread of its own: it asks SQLite for
/// `data_version`, which moves when anybody else commits. It sleeps while there is no reader, and
/// ends when `tails` are closed.
pub(crate) fn start(
    connection: Connection,
    tails: Arc<Tails>,
    path: PathBuf,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("aqueduct-sqlite-watch".into())
        .spawn(move || {
            let mut version = None;
            let mut pause = BUSY;
            while tails.wait_for_reader() {
                match look(&connection, &tails, &mut version) {
                    Ok(true) => pause = BUSY,
                    Ok(false) => pause = (pause * 3 / 2).min(IDLE),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "the watcher cannot read");
                        pause = IDLE;
                    }
                }
                std::thread::sleep(pause);
            }
        })
        .map(drop)
}

fn look(
    connection: &Connection,
    tails: &Tails,
    version: &mut Option<i64>,
) -> rusqlite::Result<bool> {
    let now = connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))?;
    if *version == Some(now) {
        return Ok(false);
    }
    tails.refresh(connection)?;
    // Only now: after a failed look the next one tries again.
    *version = Some(now);
    Ok(true)
}

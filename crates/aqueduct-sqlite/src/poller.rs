use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::identity::FileIdentity;
use crate::notify::Notifier;

/// The interval while other processes write: their commits are seen within a millisecond or two.
const BUSY: Duration = Duration::from_millis(1);

/// The interval while nothing is written: some 30 polls a second are far below 1% of a core, and the
/// first event after a rest is seen before a person notices.
const IDLE: Duration = Duration::from_millis(30);

/// Starts the file's one poller in this process, on a thread of its own. It asks SQLite for
/// `data_version`, which changes when another connection commits. It sleeps while there is no reader,
/// and ends when `notifier` is closed; it keeps `alive` until its connection is closed.
pub(crate) fn start(
    connection: Connection,
    notifier: Arc<Notifier>,
    file: Arc<FileIdentity>,
    alive: Arc<()>,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("aqueduct-sqlite-poll".into())
        .spawn(move || {
            let mut version = None;
            let mut pause = BUSY;
            while notifier.wait_for_reader() {
                if file.check_now_and_then().is_err() {
                    notifier.wake_all();
                    std::thread::sleep(IDLE);
                    continue;
                }
                match poll(&connection, &notifier, &mut version) {
                    Ok(true) => pause = BUSY,
                    Ok(false) => pause = (pause * 3 / 2).min(IDLE),
                    Err(error) => {
                        let path = file.path().display();
                        tracing::warn!(%path, %error, "cannot poll the file for commits of other processes");
                        pause = IDLE;
                    }
                }
                std::thread::sleep(pause);
            }
            drop(connection);
            drop(alive);
        })
        .map(drop)
}

fn poll(
    connection: &Connection,
    notifier: &Notifier,
    version: &mut Option<i64>,
) -> rusqlite::Result<bool> {
    let now = connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))?;
    if *version == Some(now) {
        return Ok(false);
    }
    notifier.refresh(connection)?;
    // Set only now: after a failure the next poll tries again.
    *version = Some(now);
    Ok(true)
}

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use aqueduct_core::{Error, ErrorKind, Result, Timestamp};

use crate::error::from_io;
use crate::jitter::Jitter;

/// The write lock that the processes of one file share.
///
/// SQLite's own busy handler starves waiters: the last writer finds the lock free again long before
/// the sleepers wake. Here a writer first locks the queue, then the write lock, and unlocks the queue
/// only once it has the write lock, so the last writer finds the queue taken. Both are locks of the
/// operating system, which frees them when a process dies. The holder writes its process id into the
/// lock file, so that a waiter can name it.
pub(crate) struct WriteLock {
    queue: File,
    write: File,
    jitter: Jitter,
}

/// The held write lock; dropping it releases it.
pub(crate) struct WriteGuard<'a>(&'a File);

/// The longest wait for the queue. A process holds the queue for one commit of another, 25 ms or so;
/// one that holds it for longer is stopped (ctrl-Z, a debugger) and is overtaken, since the queue is
/// only there for fairness.
const QUEUE_WAIT: Duration = Duration::from_secs(1);

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::error!(%error, "cannot release the write lock");
        }
    }
}

impl WriteLock {
    pub(crate) fn open(folder: &Path, seed: u64) -> Result<Self> {
        let open = |name: &str| {
            let path = folder.join(name);
            File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
                .map_err(|error| from_io(error, &path, "open the lock file"))
        };
        Ok(Self {
            queue: open("queue")?,
            write: open("write")?,
            jitter: Jitter::seeded(seed),
        })
    }

    /// Waits for the lock, for `limit` at most.
    ///
    /// # Errors
    /// `Unavailable` after `limit`, naming the process that holds the lock.
    pub(crate) fn enter(&mut self, limit: Duration) -> Result<WriteGuard<'_>> {
        let deadline = Instant::now() + limit;
        // The waits have the same length on average for everyone, however long they have waited: a
        // growing one would favour the latest.
        let overtake = Instant::now() + QUEUE_WAIT.min(limit / 2);
        let pause = Duration::from_micros(600);
        let queued = wait_for(&self.queue, &mut self.jitter, pause, overtake)?;
        let pause = Duration::from_micros(120);
        let entered = wait_for(&self.write, &mut self.jitter, pause, deadline);
        let left = if queued { self.queue.unlock() } else { Ok(()) };
        if !entered? {
            return Err(busy(holder(&self.write), limit));
        }
        let guard = WriteGuard(&self.write);
        left.map_err(|error| refused(&error))?;
        sign(&self.write);
        Ok(guard)
    }
}

/// Locks `file`; returns `false` if another process still holds it at `deadline`.
fn wait_for(file: &File, jitter: &mut Jitter, pause: Duration, deadline: Instant) -> Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(jitter.up_to(pause));
            }
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(refused(&error)),
        }
    }
}

fn busy(holder: Option<(u32, Timestamp)>, limit: Duration) -> Error {
    let who = match holder {
        Some((pid, since)) => format!("process {pid} has held the write lock since {since}"),
        None => "another process holds the write lock".into(),
    };
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "{who}, longer than busy_timeout ({limit:?}). If that process is stopped (ctrl-Z, a \
             debugger), continue or end it"
        ),
    )
}

fn refused(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the operating system refused a file lock: {error}"),
    )
}

/// The length of what the holder writes into the lock file: process id and milliseconds since 1970.
#[cfg(unix)]
const SIGNATURE: usize = 32;

/// Writes who holds the lock, and since when. It only serves messages, so a failure is ignored.
#[cfg(unix)]
fn sign(file: &File) {
    use std::os::unix::fs::FileExt as _;
    let now = Timestamp::now().as_millis();
    let text = format!("{:>10} {now:>20}\n", std::process::id());
    let _ = file.write_all_at(text.as_bytes(), 0);
}

/// Other systems lock the bytes of the file too: nothing could be read there.
#[cfg(not(unix))]
fn sign(_: &File) {}

#[cfg(unix)]
fn holder(file: &File) -> Option<(u32, Timestamp)> {
    use std::os::unix::fs::FileExt as _;
    let mut text = [0; SIGNATURE];
    file.read_exact_at(&mut text, 0).ok()?;
    let mut words = std::str::from_utf8(&text).ok()?.split_whitespace();
    let pid = words.next()?.parse().ok()?;
    let since = words.next()?.parse().ok()?;
    Some((pid, Timestamp::from_millis(since)))
}

#[cfg(not(unix))]
fn holder(_: &File) -> Option<(u32, Timestamp)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_at_a_time_and_the_waiter_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = WriteLock::open(folder.path(), 1).unwrap();
        let mut other = WriteLock::open(folder.path(), 2).unwrap();
        let guard = one.enter(Duration::ZERO).unwrap();
        let error = other.enter(Duration::from_millis(5)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_retryable());
        let named = format!("process {} has held", std::process::id());
        assert!(!cfg!(unix) || error.message().contains(&named), "{error}");
        drop(guard);
        other.enter(Duration::ZERO).map(drop).unwrap();
    }

    #[test]
    fn a_waiter_that_never_goes_on_is_overtaken() {
        let folder = tempfile::tempdir().unwrap();
        let stopped = WriteLock::open(folder.path(), 1).unwrap();
        stopped.queue.lock().unwrap();
        let mut other = WriteLock::open(folder.path(), 2).unwrap();
        other.enter(Duration::from_secs(60)).map(drop).unwrap();
    }
}

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use aqueduct_core::{Error, ErrorKind, Result};

use crate::error::from_io;

/// The queue of processes that want to write.
///
/// SQLite's own busy handler starves: whoever has just committed finds the lock free again long
/// before the sleepers wake. Here a writer first waits for the right to be next, then for the
/// turn itself, and gives the former up only once it has the latter: who has just had a turn finds
/// the next one taken. Both are locks of the operating system, which it frees when a process dies.
pub(crate) struct Turnstile {
    next: File,
    turn: File,
    dice: Dice,
}

/// The turn to write, until it is dropped.
pub(crate) struct Turn<'a>(&'a File);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::error!(%error, "cannot give up the turn to write");
        }
    }
}

impl Turnstile {
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
            next: open("next")?,
            turn: open("turn")?,
            dice: Dice(seed | 1),
        })
    }

    /// Waits for the turn, for `limit` at most.
    pub(crate) fn enter(&mut self, limit: Duration) -> Result<Turn<'_>> {
        let deadline = Instant::now() + limit;
        // The waits have the same length on average for everybody, however long they waited:
        // a growing one would favour those who came last.
        wait_for(
            &self.next,
            &mut self.dice,
            Duration::from_micros(600),
            deadline,
        )?;
        let turn = wait_for(
            &self.turn,
            &mut self.dice,
            Duration::from_micros(120),
            deadline,
        );
        let passed_on = self.next.unlock();
        turn?;
        let turn = Turn(&self.turn);
        passed_on.map_err(|error| refused(&error))?;
        Ok(turn)
    }
}

fn wait_for(file: &File, dice: &mut Dice, pause: Duration, deadline: Instant) -> Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(dice.up_to(pause));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "other processes kept the file's write lock for longer than busy_timeout",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(refused(&error)),
        }
    }
}

fn refused(error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the operating system refused a file lock: {error}"),
    )
}

/// Random enough for jitter (xorshift64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A duration below `limit`, evenly.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        limit.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_had_by_one_at_a_time_and_waiting_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Turnstile::open(folder.path(), 1).unwrap();
        let mut other = Turnstile::open(folder.path(), 2).unwrap();
        let turn = one.enter(Duration::ZERO).unwrap();
        let error = other.enter(Duration::from_millis(5)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        drop(turn);
        other.enter(Duration::ZERO).map(drop).unwrap();
    }

    #[test]
    fn jitter_stays_below_its_limit_and_varies() {
        let mut dice = Dice::seeded(7);
        let drawn: Vec<_> = (0..100)
            .map(|_| dice.up_to(Duration::from_micros(600)))
            .collect();
        assert!(
            drawn
                .iter()
                .all(|pause| *pause < Duration::from_micros(600))
        );
        assert!(
            drawn
                .iter()
                .any(|pause| *pause > Duration::from_micros(300))
        );
        assert!(
            drawn
                .iter()
                .any(|pause| *pause < Duration::from_micros(300))
        );
    }
}

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::Result;

use crate::error::from_io;

/// The file lock that shows that this process is alive.
///
/// Each store keeps a file locked. The kernel frees the lock when the process ends, even by a crash,
/// so that other processes know at once.
pub(crate) struct Process {
    folder: PathBuf,
    name: String,
    /// Whether the name was given to others, which may ask about it after this process has ended.
    named: AtomicBool,
    /// Holds the lock.
    _file: File,
}

impl Process {
    pub(crate) fn announce(folder: &Path, mut nonce: u64) -> Result<Self> {
        loop {
            let name = format!("process-{}-{nonce:016x}", std::process::id());
            nonce = nonce.wrapping_add(1);
            let path = folder.join(&name);
            let file = match File::options().create_new(true).write(true).open(&path) {
                Ok(file) => file,
                // Left by an earlier process with the same id: two processes must not share a name.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    return Err(from_io(error, &path, "create the process's lock file"));
                }
            };
            file.lock()
                .map_err(|error| from_io(error, &path, "lock the process's lock file"))?;
            // Before it was locked, another process may have taken it for a dead one's and removed it.
            if is_at(&file, &path) {
                return Ok(Self {
                    folder: folder.to_owned(),
                    name,
                    named: AtomicBool::new(false),
                    _file: file,
                });
            }
        }
    }

    /// Returns the name to give to others. From now on the file stays, so that they can check it.
    pub(crate) fn name(&self) -> &str {
        self.named.store(true, Ordering::Relaxed);
        &self.name
    }

    /// Returns whether the process of that name has certainly ended. A missing file proves nothing.
    pub(crate) fn is_dead(&self, name: &str) -> bool {
        name != self.name && probe(&self.folder.join(name)).is_some()
    }

    /// Lists the files of dead processes. Their writes are complete: a later read sees all of them.
    pub(crate) fn dead(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| name.starts_with("process-") && self.is_dead(name))
            .collect()
    }

    /// Removes the file of a dead process that no lease names any more.
    pub(crate) fn remove(&self, name: &str) {
        let path = self.folder.join(name);
        // Removed under its lock, so that a process that has just created it notices. Check the path
        // too: the opened file may have been removed meanwhile and another created under its name.
        if let Some(locked) = free(&path)
            && is_at(&locked, &path)
        {
            // Another process may have removed it first.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !*self.named.get_mut() {
            // If this fails, a later store removes the file.
            let _ = std::fs::remove_file(self.folder.join(&self.name));
        }
    }
}

/// Returns whether `path` still names that very file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), path.metadata()) {
        (Ok(opened), Ok(named)) => (opened.dev(), opened.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Returns whether `path` still names that very file: an open one cannot be replaced here.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Locks the file at `path` and returns it; `None` if its lock is held elsewhere.
fn free(path: &Path) -> Option<File> {
    let file = File::options().write(true).open(path).ok()?;
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
    }
}

/// Returns the file at `path` if its process does not hold the lock. The lock taken here is shared, so
/// that two processes that ask at once do not take each other for the owner.
fn probe(path: &Path) -> Option<File> {
    let file = File::options().write(true).open(path).ok()?;
    match file.try_lock_shared() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_dead_once_its_lock_is_free_and_never_before() {
        let folder = tempfile::tempdir().unwrap();
        let one = Process::announce(folder.path(), 1).unwrap();
        let other = Process::announce(folder.path(), 2).unwrap();
        let gone = other.name().to_owned();
        assert!(!one.is_dead(&gone));
        assert!(!one.is_dead(one.name()));
        assert!(!one.is_dead("process-0-never-seen"));
        drop(other);
        assert!(one.is_dead(&gone));
        assert_eq!(one.dead(), std::slice::from_ref(&gone));
        one.remove(one.name());
        one.remove(&gone);
        assert!(!folder.path().join(&gone).exists());
        assert!(folder.path().join(one.name()).exists());
        let unnamed = Process::announce(folder.path(), 3).unwrap();
        drop(unnamed);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn those_who_ask_at_once_get_the_same_answer() {
        let folder = tempfile::tempdir().unwrap();
        let one = Process::announce(folder.path(), 1).unwrap();
        let other = Process::announce(folder.path(), 2).unwrap();
        let gone = other.name().to_owned();
        assert!(probe(&folder.path().join(&gone)).is_none());
        drop(other);
        let _asking = probe(&folder.path().join(&gone)).unwrap();
        assert!(one.is_dead(&gone));
    }

    #[test]
    fn a_process_that_announces_itself_is_not_swept() {
        let folder = tempfile::tempdir().unwrap();
        let sweeper = Process::announce(folder.path(), 0).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        sweeper.dead().iter().for_each(|name| sweeper.remove(name));
                    }
                });
            }
            let swept = (1..=2000)
                .filter(|_| {
                    let process = Process::announce(folder.path(), 1).unwrap();
                    !folder.path().join(process.name()).exists()
                })
                .count();
            done.store(true, Ordering::Relaxed);
            assert_eq!(swept, 0);
        });
    }

    #[test]
    fn a_name_that_was_used_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = Process::announce(folder.path(), 7).unwrap();
        let gone = first.name().to_owned();
        drop(first);
        let second = Process::announce(folder.path(), 7).unwrap();
        assert_ne!(second.name(), gone);
        assert!(second.is_dead(&gone));
    }
}

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::Result;

use crate::error::from_io;

/// The lock that says that this process lives.
///
/// Each store keeps a file locked; the kernel frees the lock when the process is gone, however it
/// went, so that others know at once.
pub(crate) struct Process {
    folder: PathBuf,
    name: String,
    /// Whether others may ask about it once it is gone.
    named: AtomicBool,
    /// Holds the lock.
    _file: File,
}

impl Process {
    pub(crate) fn announce(folder: &Path, nonce: u64) -> Result<Self> {
        let name = format!("process-{}-{nonce:016x}", std::process::id());
        let path = folder.join(&name);
        let file = File::options()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(|error| from_io(error, &path, "create the process's lock file"))?;
        file.lock()
            .map_err(|error| from_io(error, &path, "lock the process's lock file"))?;
        Ok(Self {
            folder: folder.to_owned(),
            name,
            named: AtomicBool::new(false),
            _file: file,
        })
    }

    /// The name to give others: the file stays from now on, so that they can tell.
    pub(crate) fn name(&self) -> &str {
        self.named.store(true, Ordering::Relaxed);
        &self.name
    }

    /// Whether the process of that name is certainly gone. A file that is not there tells nothing.
    pub(crate) fn is_dead(&self, name: &str) -> bool {
        name != self.name && is_free(&self.folder.join(name))
    }

    /// Removes the files of dead processes, but for those that `still_named` asks about.
    pub(crate) fn sweep(&self, still_named: impl Fn(&str) -> bool) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with("process-")) else {
                continue;
            };
            if !still_named(name) && self.is_dead(name) {
                // Another process may have swept it first.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !*self.named.get_mut() {
            // A later store sweeps what stays.
            let _ = std::fs::remove_file(self.folder.join(&self.name));
        }
    }
}

fn is_free(path: &Path) -> bool {
    let Ok(file) = File::options().write(true).open(path) else {
        return false;
    };
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
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
        one.sweep(|name| name == gone);
        assert!(one.is_dead(&gone));
        one.sweep(|_| false);
        assert!(!folder.path().join(&gone).exists());
        assert!(folder.path().join(one.name()).exists());
        let unnamed = Process::announce(folder.path(), 3).unwrap();
        drop(unnamed);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

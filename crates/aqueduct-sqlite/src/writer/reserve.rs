use std::fs::File;
use std::path::Path;

use aqueduct_core::Result;

use crate::error::from_io;

/// Disk space kept for checkpoints.
///
/// A checkpoint copies the write-ahead log into the main file, which may have to grow for it. On a full
/// disk that would be a dead end: the log could neither grow nor be emptied. So as much room as the log
/// has is allocated in a file beside it, and given back when the disk is full. Changed only under the
/// write lock.
pub(crate) struct Reserve(File);

/// The reserve grows in steps of this size, and one step is always kept.
const STEP: u64 = 1 << 20;

/// Whether there is room for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Kept,
    Short,
}

impl Reserve {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("reserve");
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map(Self)
            .map_err(|error| from_io(error, &path, "open the file that reserves disk space"))
    }

    /// Grows the reserve to the size of a log of `bytes`; never shrinks it. Room is short if the next commit
    /// may not fit beside it.
    pub(crate) fn cover(&self, bytes: u64) -> Room {
        let wanted = bytes.div_ceil(STEP).max(1) * STEP;
        let reserved = self.size() >= wanted || allocate(&self.0, wanted);
        if reserved && free(&self.0) >= STEP {
            Room::Kept
        } else {
            Room::Short
        }
    }

    /// Gives back what exceeds one step, after the log was emptied.
    pub(crate) fn shrink(&self) {
        if self.size() > STEP {
            self.resize(STEP);
        }
    }

    /// Gives everything back.
    pub(crate) fn release(&self) {
        self.resize(0);
    }

    fn resize(&self, bytes: u64) {
        if let Err(error) = self.0.set_len(bytes) {
            tracing::warn!(%error, "cannot resize the file that reserves disk space");
        }
    }

    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |file| file.len())
    }
}

/// Returns `false` only if the disk is full: a file system that cannot allocate keeps no reserve.
#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    !matches!(
        fallocate(file, FallocateFlags::empty(), 0, bytes),
        Err(Errno::NOSPC | Errno::DQUOT)
    )
}

/// Returns how many bytes the disk has free.
#[cfg(target_os = "linux")]
fn free(file: &File) -> u64 {
    rustix::fs::fstatvfs(file).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(target_os = "linux"))]
fn free(_: &File) -> u64 {
    u64::MAX
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_reserve_follows_the_log_and_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::open(folder.path()).unwrap();
        assert_eq!(reserve.cover(1), Room::Kept);
        assert_eq!(reserve.size(), STEP);
        reserve.cover(3 * STEP + 1);
        assert_eq!(reserve.size(), 4 * STEP);
        reserve.shrink();
        assert_eq!(reserve.size(), STEP);
        reserve.release();
        assert_eq!(reserve.size(), 0);
    }
}

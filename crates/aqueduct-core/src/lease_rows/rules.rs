//! Decides conditional lease writes. Pure: each function takes the stored row and returns the row
//! to store, or `None` if nothing is to be written.

use crate::{Error, ErrorKind, Lease, OwnerId, Result};

/// Whether `stored` is still the row that a writer read as `read`: same version, and the same in
/// what conditional writes compare.
pub fn is_unchanged(stored: &Lease, read: &Lease) -> bool {
    stored.version == read.version && read.is_same_row(stored)
}

/// Replaces `current` by `next`. `None` if the write is lost to another one.
pub fn swap(stored: &Lease, current: &Lease, next: &Lease) -> Option<Lease> {
    if !current.is_same_row(stored) {
        return None;
    }
    // The asker has withdrawn and may have left: the lease would only expire there (rule 6).
    if let Some(asker) = asker(current, next)
        && stored.wanted_by.as_ref() != Some(asker)
    {
        return None;
    }
    let mut row = next.clone();
    // A request or a withdrawal that came since `current` was read must not be undone by a renewal.
    if next.owner == stored.owner && stored.wanted_by != current.wanted_by {
        row.wanted_by.clone_from(&stored.wanted_by);
    }
    Some(row)
}

/// Records that `by` asks for `lease`. `None` if another member asked first, or the lease has a new
/// owner since.
pub fn request(stored: &Lease, lease: &Lease, by: &OwnerId) -> Option<Lease> {
    if stored.generation != lease.generation || stored.wanted_by.is_some() {
        return None;
    }
    let mut row = stored.clone();
    row.wanted_by = Some(by.clone());
    Some(row)
}

/// Removes the request of `by`. `None` if it has none, or the lease has a new owner since.
pub fn withdraw(stored: &Lease, lease: &Lease, by: &OwnerId) -> Option<Lease> {
    if stored.generation != lease.generation || stored.wanted_by.as_ref() != Some(by) {
        return None;
    }
    let mut row = stored.clone();
    row.wanted_by = None;
    Some(row)
}

/// Returns the member that asked for the lease if `next` gives it to that member.
pub fn asker<'a>(current: &Lease, next: &'a Lease) -> Option<&'a OwnerId> {
    let asked =
        current.owner.is_some() && next.owner != current.owner && next.owner == current.wanted_by;
    next.owner.as_ref().filter(|_| asked)
}

/// Checks that a write stays within one partition.
///
/// # Errors
/// `Invalid` if the rows are of different partitions.
pub fn check_swap(current: &Lease, next: &Lease) -> Result<()> {
    if current.partition == next.partition {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "the lease of partition {} cannot replace the lease of partition {}",
            next.partition, current.partition
        ),
    ))
}

/// Checks that a commit keeps owner and generation.
///
/// # Errors
/// `Invalid` if it does not, or the rows are of different partitions.
pub fn check_commit(current: &Lease, next: &Lease) -> Result<()> {
    check_swap(current, next)?;
    if current.owner == next.owner && current.generation == next.generation {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "a commit must not change the owner of partition {}: use `swap`",
            current.partition
        ),
    ))
}

use std::sync::atomic::{AtomicUsize, Ordering};

use event_listener::{Event as Signal, EventListener};

/// A limit on the bytes that all partitions of a process hold unsettled, together.
///
/// Each partition may always hold its minimum share, so that a busy one never starves the others;
/// above it, a partition stops fetching while the limit is reached. One fetch may go beyond.
#[derive(Debug)]
pub struct ByteBudget {
    limit: usize,
    share: usize,
    used: AtomicUsize,
    freed: Signal,
}

impl ByteBudget {
    /// Creates a limit of `limit` bytes, of which each partition may always hold `share`.
    pub const fn new(limit: usize, share: usize) -> Self {
        Self {
            limit,
            share,
            used: AtomicUsize::new(0),
            freed: Signal::new(),
        }
    }

    /// Returns approximately the bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns whether a partition that holds `held` bytes may fetch more.
    pub(crate) fn allows(&self, held: usize) -> bool {
        held < self.share || self.used() < self.limit
    }

    /// Records that a partition which held `before` bytes now holds `after`.
    pub(crate) fn change(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
            self.freed.notify(usize::MAX);
        }
    }

    /// Wakes when bytes were freed.
    pub(crate) fn freed(&self) -> EventListener {
        self.freed.listen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_leaves_each_partition_its_share() {
        let budget = ByteBudget::new(1000, 100);
        budget.change(0, 1000);
        assert!(!budget.allows(100));
        assert!(budget.allows(99));
        budget.change(1000, 400);
        assert!(budget.allows(500));
        assert_eq!(budget.used(), 400);
    }
}

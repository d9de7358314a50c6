use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Duration, Instant};

/// The signs of life of a connection.
#[derive(Clone, Debug)]
pub(super) struct Life(Arc<Times>);

#[derive(Debug)]
struct Times {
    opened: Instant,
    /// Milliseconds after `opened`.
    read: AtomicU64,
    moved: AtomicU64,
}

impl Life {
    pub(super) fn new() -> Self {
        Self(Arc::new(Times {
            opened: Instant::now(),
            read: AtomicU64::new(0),
            moved: AtomicU64::new(0),
        }))
    }

    /// Notes that bytes were received.
    pub(super) fn received(&self) {
        let now = self.elapsed();
        self.0.read.store(now, Ordering::Relaxed);
        self.0.moved.store(now, Ordering::Relaxed);
    }

    /// Notes that the network took bytes.
    pub(super) fn sent(&self) {
        self.0.moved.store(self.elapsed(), Ordering::Relaxed);
    }

    /// Returns when bytes were last received.
    pub(super) fn last_received(&self) -> Instant {
        self.at(&self.0.read)
    }

    /// Returns when bytes last moved in either direction: a large request is sent for a while before it
    /// can be answered.
    pub(super) fn last_moved(&self) -> Instant {
        self.at(&self.0.moved)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, millis: &AtomicU64) -> Instant {
        self.0.opened + Duration::from_millis(millis.load(Ordering::Relaxed))
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterStore, Error, ErrorKind,
    GroupName, Result, SmallStr, StoredDeadLetter, StreamName,
};
use async_trait::async_trait;

/// A dead letter store whose first puts or purges fail without effect.
pub(crate) struct FailingDeadLetters {
    inner: Arc<dyn DeadLetterStore>,
    puts: AtomicUsize,
    purges: AtomicUsize,
}

impl FailingDeadLetters {
    /// Fails the first `failures` puts.
    pub(crate) fn putting(inner: Arc<dyn DeadLetterStore>, failures: usize) -> Self {
        Self {
            inner,
            puts: AtomicUsize::new(failures),
            purges: AtomicUsize::new(0),
        }
    }

    /// Fails the first `failures` purges.
    pub(crate) fn purging(inner: Arc<dyn DeadLetterStore>, failures: usize) -> Self {
        Self {
            inner,
            puts: AtomicUsize::new(0),
            purges: AtomicUsize::new(failures),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DeadLetterQueue for FailingDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        match fails(&self.puts) {
            true => dead_letters.iter().map(|_| Err(failure())).collect(),
            false => self.inner.put(dead_letters).await,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DeadLetterStore for FailingDeadLetters {
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        self.inner.list(query).await
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        self.inner.show(ids).await
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        match fails(&self.purges) {
            true => ids.iter().map(|_| Err(failure())).collect(),
            false => self.inner.purge(ids).await,
        }
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>> {
        self.inner.held_keys(group, stream).await
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        self.inner.release_key(group, stream, key).await
    }
}

fn fails(left: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

fn failure() -> Error {
    Error::new(ErrorKind::Unavailable, "made to fail by the suite")
}

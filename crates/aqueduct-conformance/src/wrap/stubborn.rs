use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqueduct_core::{DeadLetter, DeadLetterQueue, DeadLetterStore, Error, ErrorKind, Result};
use async_trait::async_trait;

/// A dead letter queue whose first calls fail.
pub(crate) struct Stubborn {
    inner: Arc<dyn DeadLetterStore>,
    refusals: AtomicUsize,
}

impl Stubborn {
    /// Fails the first `refusals` calls.
    pub(crate) fn new(inner: Arc<dyn DeadLetterStore>, refusals: usize) -> Self {
        Self {
            inner,
            refusals: AtomicUsize::new(refusals),
        }
    }
}

#[async_trait]
impl DeadLetterQueue for Stubborn {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        let less = |left: usize| left.checked_sub(1);
        let refuse = self
            .refusals
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        match refuse {
            Err(_) => self.inner.put(dead_letters).await,
            Ok(_) => {
                let error = Error::new(ErrorKind::Unavailable, "refused by the suite");
                dead_letters.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }
}

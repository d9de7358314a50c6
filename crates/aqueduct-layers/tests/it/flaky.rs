use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::{
    Backend as _, Claimed, DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue,
    DeadLetterStore, Error, ErrorKind, EventClaim, GroupName, IdempotencyScope, IdempotencyStore,
    Options, Resource, Result, Runtime, SmallStr, StoredDeadLetter, StreamName, Timestamp, Url,
};
use aqueduct_memory::MemoryBackend;
use async_trait::async_trait;

/// The stores of one memory stream.
pub(crate) fn resource(name: &str) -> Arc<dyn Resource> {
    let url: Url = "memory:".parse().unwrap();
    let options = Options::new(format!("streams.{name}"));
    MemoryBackend::new().parse(name, &url, options).unwrap()
}

/// A store that responds late, and fails at a given rate (in thousandths).
pub(crate) struct Flaky<S: ?Sized> {
    runtime: Runtime,
    thousandths: Mutex<u64>,
    pub(crate) calls: Mutex<Vec<(&'static str, usize)>>,
    inner: Arc<S>,
}

impl<S: ?Sized> Flaky<S> {
    pub(crate) fn new(inner: Arc<S>, thousandths: u64, runtime: &Runtime) -> Arc<Self> {
        Arc::new(Self {
            runtime: runtime.clone(),
            thousandths: Mutex::new(thousandths),
            calls: Mutex::default(),
            inner,
        })
    }

    pub(crate) fn fail(&self, thousandths: u64) {
        *self.thousandths.lock().unwrap() = thousandths;
    }

    /// Returns how often `what` was called, and with how many.
    pub(crate) fn calls_of(&self, what: &str) -> Vec<usize> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .filter(|it| it.0 == what)
            .map(|it| it.1)
            .collect()
    }

    async fn ask(&self, what: &'static str, count: usize) -> Result<()> {
        self.calls.lock().unwrap().push((what, count));
        let wait = self.runtime.jitter(Duration::from_millis(3));
        self.runtime.sleep(wait).await;
        if self.runtime.random() % 1000 < *self.thousandths.lock().unwrap() {
            return Err(Error::new(ErrorKind::Unavailable, "the store is away"));
        }
        Ok(())
    }
}

fn each(count: usize, error: &Error) -> Vec<Result<()>> {
    (0..count).map(|_| Err(error.clone())).collect()
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl IdempotencyStore for Flaky<dyn IdempotencyStore> {
    async fn claim(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>> {
        self.ask("claim", claims.len()).await?;
        self.inner.claim(scope, claims).await
    }

    async fn peek(
        &self,
        scope: &IdempotencyScope,
        claims: &[EventClaim],
    ) -> Result<Option<Vec<Claimed>>> {
        self.ask("peek", claims.len()).await?;
        self.inner.peek(scope, claims).await
    }

    async fn complete(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        match self.ask("complete", claims.len()).await {
            Ok(()) => self.inner.complete(scope, claims).await,
            Err(error) => each(claims.len(), &error),
        }
    }

    async fn release(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        match self.ask("release", claims.len()).await {
            Ok(()) => self.inner.release(scope, claims).await,
            Err(error) => each(claims.len(), &error),
        }
    }

    async fn heartbeat(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        match self.ask("heartbeat", claims.len()).await {
            Ok(()) => self.inner.heartbeat(scope, claims).await,
            Err(error) => each(claims.len(), &error),
        }
    }

    async fn purge(&self, before: Timestamp) -> Result<u64> {
        self.inner.purge(before).await
    }

    fn retention(&self) -> Option<Duration> {
        self.inner.retention()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl DeadLetterQueue for Flaky<dyn DeadLetterStore> {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        match self.ask("bury", dead_letters.len()).await {
            Ok(()) => self.inner.put(dead_letters).await,
            Err(error) => each(dead_letters.len(), &error),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl DeadLetterStore for Flaky<dyn DeadLetterStore> {
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        self.inner.list(query).await
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        self.inner.show(ids).await
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        self.inner.purge(ids).await
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>> {
        self.ask("held_keys", 1).await?;
        self.inner.held_keys(group, stream).await
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        self.inner.release_key(group, stream, key).await
    }
}

/// Returns every dead letter, oldest first.
pub(crate) async fn all_dead_letters(dead_letters: &dyn DeadLetterStore) -> Vec<DeadLetter> {
    let mut query = DeadLetterQuery::default();
    query.limit = 10_000;
    let stored = dead_letters.list(&query).await.unwrap();
    stored.into_iter().map(|it| it.dead_letter).collect()
}

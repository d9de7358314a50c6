use std::sync::Arc;

use aqueduct_core::{
    Admin, BatchProducer, Claims, DeadLetterStore, Error, IdempotencyStore, Identity, LeaseStore,
    Resource, Result, Runtime, SharedSettings, Source, StreamName,
};
use async_trait::async_trait;

/// Combines a stream and the store of its leases and records into one resource.
/// Pass one to [`Subject::with_peer`](crate::Subject::with_peer) if the stream belongs to one backend
/// and its leases and records to another.
pub struct Combined {
    /// The stream, which also stores its dead letters.
    pub stream: Arc<dyn Resource>,
    /// Stores leases and idempotency records.
    pub keeper: Arc<dyn Resource>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Resource for Combined {
    fn describe(&self) -> String {
        self.stream.describe()
    }

    fn stream(&self) -> &StreamName {
        self.stream.stream()
    }

    fn claims(&self) -> Claims {
        self.stream.claims()
    }

    fn identity(&self) -> Identity {
        self.stream.identity()
    }

    fn dead_letters_are_events(&self) -> bool {
        self.stream.dead_letters_are_events()
    }

    fn leases_are_exclusive(&self) -> bool {
        self.keeper.leases_are_exclusive()
    }

    fn shared_settings(&self) -> Option<SharedSettings> {
        self.stream.shared_settings()
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        self.stream.producer(runtime).await
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        self.stream.source(runtime).await
    }

    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        self.keeper.leases(runtime).await
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        self.keeper.idempotency(runtime).await
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        self.stream.dead_letters(runtime).await
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        self.stream.admin(runtime).await
    }

    async fn close(&self) -> Result<()> {
        let (stream, keeper) = futures::join!(self.stream.close(), self.keeper.close());
        stream.and(keeper)
    }

    fn does_not_offer(&self, what: &str) -> Error {
        self.stream.does_not_offer(what)
    }
}

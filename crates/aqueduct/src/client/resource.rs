use std::sync::Arc;

use aqueduct_core::{
    Admin, Capability, Claim, DeadLetterQueue, DeadLetterStore, Destination, Error,
    IdempotencyStore, Layer, LeaseStore, PartitionedLog, Resource, Result, Runtime, Source,
};
use aqueduct_layers::ProducerDeadLetters;
use aqueduct_producer::Producer;

use super::lazy::Lazy;
use super::schemes;
use crate::config::{Secrets, Target, TargetKind};

/// One stream or store, with its open parts.
pub(super) struct NamedResource {
    target: Target,
    resource: Arc<dyn Resource>,
    layers: Vec<Arc<dyn Layer>>,
    secrets: Secrets,
    producer: Lazy<Producer>,
    source: Lazy<Source>,
    leases: Lazy<Arc<dyn LeaseStore>>,
    idempotency: Lazy<Arc<dyn IdempotencyStore>>,
    dead_letters: Lazy<Arc<dyn DeadLetterStore>>,
    admin: Lazy<Arc<dyn Admin>>,
}

impl NamedResource {
    pub(super) fn new(
        target: Target,
        resource: Arc<dyn Resource>,
        layers: Vec<Arc<dyn Layer>>,
        secrets: Secrets,
    ) -> Self {
        Self {
            target,
            resource,
            layers,
            secrets,
            producer: Lazy::new(),
            source: Lazy::new(),
            leases: Lazy::new(),
            idempotency: Lazy::new(),
            dead_letters: Lazy::new(),
            admin: Lazy::new(),
        }
    }

    pub(super) fn kind(&self) -> TargetKind {
        self.target.kind
    }

    /// Returns its place in the configuration, for errors.
    pub(super) fn place(&self) -> &str {
        self.target.options.place()
    }

    pub(super) fn scheme(&self) -> &str {
        self.target.url.scheme()
    }

    pub(super) fn get(&self) -> &dyn Resource {
        &*self.resource
    }

    /// Returns the stream as layers name it.
    pub(super) fn destination(&self) -> Destination {
        let system = schemes::messaging_system(self.scheme());
        Destination::new(system, self.resource.stream().clone())
    }

    pub(super) async fn producer(&self, runtime: &Runtime) -> Result<Producer> {
        let open = async {
            let producer = self.resource.producer(runtime).await?;
            let options = self.target.producer.clone();
            Producer::layered(
                producer,
                &self.layers,
                &self.destination(),
                options,
                runtime,
            )
        };
        self.named(self.producer.get_or_open(open).await)
    }

    pub(super) async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let open = self.resource.source(runtime);
        self.named(self.source.get_or_open(open).await)
    }

    pub(super) async fn log(&self, runtime: &Runtime) -> Result<Arc<dyn PartitionedLog>> {
        match self.source(runtime).await? {
            Source::Log(log) => Ok(log),
            _ => Err(Error::unsupported(format!(
                "{}: a queue cannot be followed without a group",
                self.resource.describe()
            ))),
        }
    }

    pub(super) async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        let open = self.resource.leases(runtime);
        self.named(self.leases.get_or_open(open).await)
    }

    pub(super) async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        let open = self.resource.idempotency(runtime);
        self.named(self.idempotency.get_or_open(open).await)
    }

    pub(super) async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        let open = self.resource.dead_letters(runtime);
        self.named(self.dead_letters.get_or_open(open).await)
    }

    /// Returns whether dead letters are stored as such; otherwise they are events of the stream.
    pub(super) fn stores_dead_letters(&self) -> bool {
        !matches!(
            self.resource.claims().get(Capability::DeadLetters),
            Claim::No(_)
        )
    }

    pub(super) async fn dead_letters_as_events(
        &self,
        runtime: &Runtime,
    ) -> Result<Arc<dyn DeadLetterQueue>> {
        let producer = self.producer(runtime).await?;
        Ok(Arc::new(ProducerDeadLetters::new(Arc::new(producer))))
    }

    pub(super) async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        let open = self.resource.admin(runtime);
        self.named(self.admin.get_or_open(open).await)
    }

    pub(super) async fn close(&self) -> Result<()> {
        let producer = match self.producer.opened().await {
            Some(producer) => producer.close().await,
            None => Ok(()),
        };
        producer.and(self.named(self.resource.close().await))
    }

    /// Adds the name of its table to an error.
    fn named<T>(&self, opened: Result<T>) -> Result<T> {
        opened.map_err(|error| {
            let placed = error.context(self.target.options.place());
            self.secrets.scrub(placed)
        })
    }
}

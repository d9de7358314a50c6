use std::sync::Arc;

use aqueduct_core::{
    Backend, Capability, Claim, Claims, DeadLetterStore, IdempotencyStore, Identity, LeaseStore,
    OptionTable, Options, Resource, Result, Runtime, SmallStr, StreamName, Url,
};
use async_trait::async_trait;
use object_store::ObjectStore;

use crate::bucket::Bucket;
use crate::config::{Config, Container, SCHEMES};
use crate::connect::connect;
use crate::dead_letters::ObjectDeadLetters;
use crate::idempotency::ObjectRecords;
use crate::leases::{Layout, ObjectLeases};
use crate::probe::{self, Needs};
use crate::reference;

/// Stores leases, idempotency records and dead letters in object stores: `az://ACCOUNT/CONTAINER`,
/// `s3://BUCKET`, `gs://BUCKET`, each with a prefix behind it, and dead letters in `file:///FOLDER`.
#[derive(Clone, Debug, Default)]
pub struct ObjectStoreBackend {
    store: Option<Arc<dyn ObjectStore>>,
}

impl ObjectStoreBackend {
    /// Creates a backend that connects as each URL says, with credentials of its options or of the
    /// environment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a backend that uses `store` for every URL: a client with credentials of your own, or
    /// a store in memory for tests. The URL's container and options of access are not used then,
    /// its prefix is.
    pub fn with_store(store: Arc<dyn ObjectStore>) -> Self {
        Self { store: Some(store) }
    }
}

impl Backend for ObjectStoreBackend {
    fn schemes(&self) -> &[&'static str] {
        SCHEMES
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        let config = Config::parse(url, options)?;
        Ok(Arc::new(ObjectStoreResource {
            name: StreamName::new(name),
            store: self.store.clone(),
            config,
        }))
    }

    fn options(&self) -> Vec<OptionTable> {
        reference::tables()
    }
}

struct ObjectStoreResource {
    name: StreamName,
    store: Option<Arc<dyn ObjectStore>>,
    config: Config,
}

impl ObjectStoreResource {
    /// Connects and checks that the store can do what is needed.
    async fn open(&self, needs: Needs, runtime: &Runtime) -> Result<Bucket> {
        let store = match &self.store {
            Some(store) => store.clone(),
            None => connect(&self.config)?,
        };
        let bucket = Bucket::new(store, &self.config.prefix, self.describe().into());
        probe::check(&bucket, needs, runtime).await?;
        Ok(bucket)
    }

    fn is_folder(&self) -> bool {
        matches!(self.config.container, Container::Folder { .. })
    }

    /// Returns the capabilities, if the store has conditional writes.
    fn conditional(&self, claims: Claims) -> Claims {
        let no = "a local file cannot be replaced on a condition: sqlite:PATH serves one machine";
        let claim = match self.is_folder() {
            true => Claim::No(SmallStr::literal(no)),
            false => Claim::Yes,
        };
        claims
            .with(Capability::Leases, claim.clone())
            .with(Capability::Idempotency, claim)
    }
}

#[async_trait]
impl Resource for ObjectStoreResource {
    fn describe(&self) -> String {
        self.config.describe()
    }

    fn identity(&self) -> Identity {
        let place = Identity::new(self.describe());
        let place = place.with("endpoint", self.config.access.endpoint.clone());
        match &self.config.layout {
            Layout::Own => place,
            Layout::Processor(names) => place
                .with("hub", names.hub.clone())
                .with("consumer_group", names.consumer_group.clone()),
        }
    }

    /// Returns whether options fix both hub and consumer group, so that every group has the same blobs.
    /// If one of them is fixed, a group's record tells who owns the folder.
    fn leases_are_exclusive(&self) -> bool {
        match &self.config.layout {
            Layout::Own => false,
            Layout::Processor(names) => names.hub.is_some() && names.consumer_group.is_some(),
        }
    }

    fn stream(&self) -> &StreamName {
        &self.name
    }

    fn claims(&self) -> Claims {
        let claims = Claims::of(&[
            Capability::DeadLetters,
            Capability::Durable,
            Capability::Shared,
        ])
        .with(
            Capability::Transactions,
            Claim::No(SmallStr::literal(
                "the application's own writes are in other objects",
            )),
        );
        self.conditional(claims)
    }

    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        if self.is_folder() {
            return Err(self.does_not_offer("lease store: use sqlite:PATH on one machine"));
        }
        let needs = match &self.config.layout {
            Layout::Own => Needs::Conditions,
            Layout::Processor(_) => Needs::Metadata,
        };
        let leases = ObjectLeases::new(
            self.open(needs, runtime).await?,
            self.config.layout.clone(),
            self.config.checkpoint_blobs,
            self.config.processor_watch,
            runtime,
        );
        Ok(Arc::new(aqueduct_core::lease_rows::RowLeases::new(leases)))
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        if self.is_folder() {
            return Err(self.does_not_offer("idempotency store: use sqlite:PATH on one machine"));
        }
        let bucket = self.open(Needs::Conditions, runtime).await?;
        let retention = self.config.idempotency_retention;
        Ok(Arc::new(ObjectRecords::new(bucket, retention, runtime)))
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        let bucket = self.open(Needs::Creation, runtime).await?;
        Ok(Arc::new(ObjectDeadLetters::new(bucket, runtime)))
    }
}

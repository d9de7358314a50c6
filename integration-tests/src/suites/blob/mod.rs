mod container;
mod refusals;
mod takeover;

use std::sync::Arc;

use aqueduct_conformance::{Combined, Fixture, Lack, Subject, Timing};
use aqueduct_core::{Backend as _, Error, Options, Resource, Result, Runtime, StreamSpec};
use aqueduct_object_store::ObjectStoreBackend;
use async_trait::async_trait;

pub(crate) use self::takeover::run as take_over;
use super::cloud::parse;
use super::{Cloud, Suite};
use crate::services::{AZURITE_ACCOUNT, Service};

/// Keeps leases, idempotency records and dead letters in Blob Storage, and streams in memory.
pub(crate) struct Blob {
    /// Whether leases have the layout of event processors.
    is_processor: bool,
    cloud: Cloud,
    name: String,
    container: String,
}

impl Blob {
    pub(crate) async fn new(cloud: Cloud, is_processor: bool) -> std::result::Result<Self, String> {
        let name = format!("memory with Blob Storage, {}", cloud.setup.title);
        let container = cloud.name();
        container::create(&cloud, &container).await?;
        refusals::check(&cloud, &container).await?;
        Ok(Self {
            is_processor,
            cloud,
            name,
            container,
        })
    }

    pub(crate) fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    fn keeper(&self, prefix: &str) -> Result<Arc<dyn Resource>> {
        let options = match self.is_processor {
            true => &[("event_hubs", "shop.servicebus.windows.net")][..],
            false => &[],
        };
        open(&self.cloud, &self.container, prefix, options)
    }
}

/// Returns the store of a container and prefix.
fn open(
    cloud: &Cloud,
    container: &str,
    prefix: &str,
    more: &[(&'static str, &str)],
) -> Result<Arc<dyn Resource>> {
    let mut options = Options::new("stores.blob");
    let is_given = |name| more.iter().any(|(given, _)| *given == name);
    for (key, value) in cloud.place.options(Service::Blob).map_err(Error::config)? {
        if key == "endpoint" || !is_given("sas_token") {
            options = options.with(key, value);
        }
    }
    for (key, value) in more {
        options = options.with(*key, *value);
    }
    let url = format!("az://{AZURITE_ACCOUNT}/{container}/{prefix}");
    ObjectStoreBackend::new().parse("blob", &parse(&url)?, options)
}

#[async_trait]
impl Fixture for Blob {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let name = self.cloud.name();
        let stream = self.cloud.in_memory(&name)?;
        stream.admin(runtime).await?.create(spec).await?;
        // Each case has its own prefix: a purge and a listing see all of it.
        let keeper = self.keeper(&name)?;
        let peer = Combined {
            stream: self.cloud.in_memory(&name)?,
            keeper: self.keeper(&name)?,
        };
        Ok(Subject::new(stream)
            .with_peer(Arc::new(peer))
            .with_leases(keeper.clone())
            .with_idempotency(keeper.clone())
            .with_dead_letters(keeper))
    }

    fn lacks(&self) -> Vec<Lack> {
        self.cloud.lacks(match self.is_processor {
            true => Suite::Ownership,
            false => Suite::Blob,
        })
    }

    fn timing(&self) -> Timing {
        self.cloud.timing()
    }
}

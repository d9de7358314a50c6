use std::sync::Arc;

use aqueduct_conformance::{Combined, Fault, Faults, Fixture, Lack, Subject, Timing};
use aqueduct_core::{Error, Resource, Result, Runtime, StreamSpec};
use aqueduct_dynamodb::DynamoDbBackend;
use aqueduct_emulators::{HttpFault, HttpFaults};
use async_trait::async_trait;

use super::{Cloud, Suite};
use crate::services::Service;

/// Keeps leases of all cases and idempotency records in DynamoDB, and streams in memory.
pub(crate) struct Dynamodb {
    cloud: Cloud,
    name: String,
    table: String,
}

impl Dynamodb {
    pub(crate) fn new(cloud: Cloud) -> Self {
        let name = format!("memory with DynamoDB, {}", cloud.setup.title);
        let table = cloud.name();
        cloud.delete_at_end(Service::Dynamodb, &table);
        Self { cloud, name, table }
    }

    pub(crate) fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The leases of all cases, and records of this case alone: a purge affects a whole table.
    fn keeper(&self, records: &str) -> Result<(Arc<dyn Resource>, Option<HttpFaults>)> {
        let (aws, faults) = self.cloud.aws();
        let backend = DynamoDbBackend::with(aws);
        let options = [("layout", "shared"), ("state_table", records)];
        let keeper = self
            .cloud
            .resource(&backend, Service::Dynamodb, &self.table, &options)?;
        Ok((keeper, faults))
    }
}

#[async_trait]
impl Fixture for Dynamodb {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let name = self.cloud.name();
        let stream = self.cloud.in_memory(&name)?;
        stream.admin(runtime).await?.create(spec).await?;
        let tables = self.cloud.name();
        self.cloud.delete_at_end(Service::Dynamodb, &tables);
        let records = format!("{tables}-aqueduct");
        let (keeper, http) = self.keeper(&records)?;
        let peer = Combined {
            stream: self.cloud.in_memory(&name)?,
            keeper: self.keeper(&records)?.0,
        };
        Ok(Subject::new(stream)
            .with_peer(Arc::new(peer))
            .with_leases(keeper.clone())
            .with_idempotency(keeper)
            .with_faults(Arc::new(Injected(http))))
    }

    fn lacks(&self) -> Vec<Lack> {
        self.cloud.lacks(Suite::Dynamodb)
    }

    fn timing(&self) -> Timing {
        self.cloud.timing()
    }
}

struct Injected(Option<HttpFaults>);

#[async_trait]
impl Faults for Injected {
    fn offers(&self, fault: Fault) -> bool {
        fault == Fault::LoseLeaseResponse && self.0.is_some()
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        match (&self.0, fault) {
            (Some(http), Fault::LoseLeaseResponse) => {
                http.inject("UpdateItem", HttpFault::LoseAnswer);
                Ok(())
            }
            (_, other) => Err(Error::unsupported(format!("{other:?}"))),
        }
    }
}

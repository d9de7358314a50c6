use std::sync::Arc;

use aqueduct_conformance::{Fault, Faults, Fixture, Lack, Subject, Timing};
use aqueduct_core::{Error, Resource, Result, Runtime, StreamSpec};
use aqueduct_emulators::{HttpFault, HttpFaults};
use aqueduct_kinesis::KinesisBackend;
use aqueduct_memory::{Applied, Operation};
use async_trait::async_trait;

use super::{Cloud, Suite};
use crate::services::Service;

/// Keeps streams in Kinesis, and leases, idempotency records and dead letters in memory.
pub(crate) struct Kinesis {
    cloud: Cloud,
    name: String,
}

impl Kinesis {
    pub(crate) fn new(cloud: Cloud) -> Self {
        let name = format!("kinesis on {}", cloud.setup.title);
        Self { cloud, name }
    }

    pub(crate) fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    fn at(&self, name: &str) -> Result<(Arc<dyn Resource>, Option<HttpFaults>)> {
        let (aws, faults) = self.cloud.aws();
        let backend = KinesisBackend::with(aws);
        let stream = self.cloud.resource(&backend, Service::Kinesis, name, &[])?;
        Ok((stream, faults))
    }
}

#[async_trait]
impl Fixture for Kinesis {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let name = self.cloud.name();
        let (stream, http) = self.at(&name)?;
        let deleted = self.cloud.delete_after(Service::Kinesis, &name);
        stream.admin(runtime).await?.create(spec).await?;
        let stores = self.cloud.in_memory(&name)?;
        let (peer, _) = self.at(&name)?;
        let faults = Injected {
            http,
            memory: self.cloud.memory().faults(name.as_str()),
        };
        Ok(Subject::new(stream)
            .with_leases(stores.clone())
            .with_idempotency(stores.clone())
            .with_dead_letters(stores)
            .with_peer(peer)
            .with_faults(Arc::new(faults))
            .with_guard(deleted))
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        Some(self.at(&self.cloud.name()).ok()?.0)
    }

    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        let (stream, http) = self.at(&self.cloud.name()).ok()?;
        let http = http?;
        for operation in ["DescribeStreamSummary", "ListShards", "PutRecords"] {
            let denied = HttpFault::Error(400, "AccessDeniedException", "not for you");
            for _ in 0..100 {
                http.inject(operation, denied.clone());
            }
        }
        Some(stream)
    }

    fn lacks(&self) -> Vec<Lack> {
        let mut lacks = self.cloud.lacks(Suite::Kinesis);
        lacks.push(Lack {
            case: "attribute_types_round_trip",
            reason: "JSON, the default encoding, has no bytes; shown in process with protobuf",
        });
        lacks
    }

    fn timing(&self) -> Timing {
        self.cloud.timing()
    }
}

struct Injected {
    http: Option<HttpFaults>,
    memory: aqueduct_memory::MemoryFaults,
}

#[async_trait]
impl Faults for Injected {
    fn offers(&self, fault: Fault) -> bool {
        match fault {
            Fault::LoseLeaseResponse => true,
            Fault::Throttle | Fault::Refuse | Fault::LoseSendResponse | Fault::Cut => {
                self.http.is_some()
            }
            _ => false,
        }
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        if fault == Fault::LoseLeaseResponse {
            let lost = aqueduct_memory::MemoryFault::lost_response(Applied::Yes);
            self.memory.next(Operation::LeaseWrite, 1, lost);
            return Ok(());
        }
        let Some(http) = &self.http else {
            return Err(Error::unsupported("no fault injection on a real account"));
        };
        match fault {
            Fault::Throttle => http.inject(
                "PutRecords",
                HttpFault::Error(400, "ProvisionedThroughputExceededException", "too fast"),
            ),
            Fault::Refuse => http.inject("PutRecords", HttpFault::Refuse),
            Fault::LoseSendResponse => http.inject("PutRecords", HttpFault::LoseAnswer),
            Fault::Cut => {
                for operation in ["PutRecords", "GetRecords", "GetShardIterator"] {
                    http.inject_once(operation, HttpFault::Refuse);
                }
            }
            other => return Err(Error::unsupported(format!("{other:?}"))),
        }
        Ok(())
    }
}

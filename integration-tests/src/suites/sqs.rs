use std::sync::Arc;

use aqueduct_conformance::{Fault, Faults, Fixture, Lack, Subject, Timing};
use aqueduct_core::{Error, Resource, Result, Runtime, StreamSpec};
use aqueduct_emulators::{HttpFault, HttpFaults};
use aqueduct_sqs::SqsBackend;
use async_trait::async_trait;

use super::{Cloud, Suite};
use crate::services::Service;

/// Keeps queues and dead letters in SQS, and idempotency records in memory.
pub(crate) struct Queues {
    cloud: Cloud,
    suite: Suite,
    name: String,
}

impl Queues {
    pub(crate) fn new(cloud: Cloud, suite: Suite) -> Self {
        let name = format!("{} on {}", suite.name(), cloud.setup.title);
        Self { cloud, suite, name }
    }

    pub(crate) fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    fn unused(&self, what: &str) -> String {
        let suffix = if self.suite == Suite::Fifo {
            ".fifo"
        } else {
            ""
        };
        format!("{}{what}{suffix}", self.cloud.name())
    }

    fn at(&self, name: &str, create: &str) -> Result<(Arc<dyn Resource>, Option<HttpFaults>)> {
        let (aws, faults) = self.cloud.aws();
        let options = [
            ("create", create),
            // What cases wait for.
            ("visibility", "2s"),
        ];
        let backend = SqsBackend::with(aws);
        let queue = self
            .cloud
            .resource(&backend, Service::Sqs, name, &options)?;
        Ok((queue, faults))
    }
}

#[async_trait]
impl Fixture for Queues {
    fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, _: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let (name, dead_letters) = (self.unused(""), self.unused("-letters"));
        let deleted = [&name, &dead_letters].map(|it| self.cloud.delete_after(Service::Sqs, it));
        let (queue, http) = self.at(&name, "missing")?;
        queue.producer(runtime).await?;
        let subject = Subject::new(queue)
            .with_peer(self.at(&name, "missing")?.0)
            .with_dead_letters(self.at(&dead_letters, "missing")?.0)
            .with_idempotency(self.cloud.in_memory(&name)?)
            .with_guard(deleted);
        Ok(match http {
            Some(http) => subject.with_faults(Arc::new(Injected(http))),
            None => subject,
        })
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        Some(self.at(&self.unused("-missing"), "never").ok()?.0)
    }

    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        let (queue, http) = self.at(&self.unused("-denied"), "never").ok()?;
        let http = http?;
        for operation in ["GetQueueUrl", "GetQueueAttributes", "SendMessageBatch"] {
            let denied = HttpFault::Error(403, "AccessDenied", "not for you");
            for _ in 0..100 {
                http.inject(operation, denied.clone());
            }
        }
        Some(queue)
    }

    fn lacks(&self) -> Vec<Lack> {
        self.cloud.lacks(self.suite)
    }

    fn timing(&self) -> Timing {
        self.cloud.timing()
    }
}

struct Injected(HttpFaults);

#[async_trait]
impl Faults for Injected {
    fn offers(&self, fault: Fault) -> bool {
        matches!(
            fault,
            Fault::Throttle | Fault::Refuse | Fault::LoseSendResponse | Fault::Cut
        )
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        let send = |fault| self.0.inject("SendMessageBatch", fault);
        match fault {
            Fault::Throttle => send(HttpFault::Error(400, "RequestThrottled", "too fast")),
            Fault::Refuse => send(HttpFault::Refuse),
            Fault::LoseSendResponse => send(HttpFault::LoseAnswer),
            Fault::Cut => {
                for operation in ["ReceiveMessage", "DeleteMessageBatch"] {
                    self.0.inject_once(operation, HttpFault::Refuse);
                }
            }
            other => return Err(Error::unsupported(format!("{other:?}"))),
        }
        Ok(())
    }
}

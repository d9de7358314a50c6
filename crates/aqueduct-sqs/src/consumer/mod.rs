//! Reads a queue: messages are held, extended, handed out and deleted as [`machine`] decides.

mod arrival;
mod core;
mod driver;
mod machine;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_core::{
    Assignment, Capabilities, Consumer, ConsumerStatus, Delivery, Error, ErrorKind, GroupName,
    Result, Runtime, Settler, Task,
};
use async_trait::async_trait;
use futures::future::{Either, select};

use self::core::Core;
use crate::config::Reading;
use crate::queue::Queue;

/// Opens consumers of one queue.
pub(crate) struct SqsQueue {
    queue: Queue,
    reading: Reading,
    capabilities: Capabilities,
    runtime: Runtime,
}

impl SqsQueue {
    pub(crate) fn new(
        queue: Queue,
        reading: Reading,
        capabilities: Capabilities,
        runtime: &Runtime,
    ) -> Self {
        Self {
            queue,
            reading,
            capabilities,
            runtime: runtime.clone(),
        }
    }
}

#[async_trait]
impl aqueduct_core::Queue for SqsQueue {
    async fn consumer(&self, group: &GroupName) -> Result<Arc<dyn Consumer>> {
        let assignment = Assignment {
            stream: self.queue.name.clone(),
            group: group.clone(),
            partition: None,
            generation: 0,
            replay: 0,
        };
        let core = Arc::new(Core::new(
            self.queue.clone(),
            &self.reading,
            assignment,
            &self.runtime,
        ));
        let driving = self.runtime.spawn(driver::drive(core.clone()));
        Ok(Arc::new(SqsConsumer {
            core,
            capabilities: self.capabilities.clone(),
            runtime: self.runtime.clone(),
            driving: Mutex::new(Some(driving)),
        }))
    }
}

/// One consumer. Dropped without being closed it dies as a process does: what it holds comes
/// again when its time runs out.
struct SqsConsumer {
    core: Arc<Core>,
    capabilities: Capabilities,
    runtime: Runtime,
    driving: Mutex<Option<Task<()>>>,
}

/// How long closing tries to reach the service.
const CLOSING: Duration = Duration::from_secs(15);

#[async_trait]
impl Consumer for SqsConsumer {
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        let settler: Arc<dyn Settler> = self.core.clone();
        let parts = self.core.receive(max.max(1)).await?;
        Ok(parts
            .into_iter()
            .map(|parts| Delivery::new(parts, settler.clone()))
            .collect())
    }

    async fn drain(&self) -> Result<()> {
        self.core.with(|machine, now| {
            if !machine.is_draining() {
                machine.drain(now);
            }
        });
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        let before = self.core.with(|machine, _| {
            machine.hurry(true);
            machine.lost_acks()
        });
        self.core
            .until(|machine, _| machine.is_flushed().then_some(()))
            .await;
        let lost = self.core.with(|machine, _| {
            machine.hurry(false);
            machine.lost_acks() - before
        });
        match lost {
            0 => Ok(()),
            lost => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "queue {}: {lost} handled messages could not be deleted in time and come again",
                    self.core.assignment().stream
                ),
            )),
        }
    }

    async fn close(&self) -> Result<()> {
        let first = self.core.with(|machine, now| {
            let first = !machine.is_closed();
            if first {
                machine.close(now);
            }
            first
        });
        if !first {
            return Ok(());
        }
        let idle = self
            .core
            .until(|machine, _| machine.is_idle().then_some(()));
        let idle = Box::pin(idle);
        let closed = select(idle, self.runtime.sleep(CLOSING)).await;
        if let Either::Right(_) = closed {
            tracing::warn!(
                queue = %self.core.assignment().stream,
                "not all messages could be given back: they come again when their time runs out"
            );
        }
        let driving = self
            .driving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(driving);
        Ok(())
    }

    fn pause(&self, paused: bool) {
        self.core.with(|machine, _| machine.pause(paused));
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn status(&self) -> ConsumerStatus {
        let (unreachable_since, paused) = self
            .core
            .look(|machine| (machine.unreachable_since(), machine.is_paused()));
        let mut status = ConsumerStatus::default();
        status.unreachable_since = unreachable_since;
        status.paused = paused;
        status
    }
}

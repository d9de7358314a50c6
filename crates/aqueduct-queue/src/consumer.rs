use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Assignment, BatchConsumer, Capabilities, ConsumerStatus, Delivery, Error, ErrorKind, Queue,
    Result, Runtime, Settler, Task,
};
use async_trait::async_trait;
use futures::future::{Either, select};

use crate::QueueOptions;
use crate::driver;
use crate::engine::Engine;

/// How long closing tries to give messages back.
const CLOSING: Duration = Duration::from_secs(15);

/// Opens a consumer of `queue`.
///
/// A consumer that is dropped without being closed ends as a crashed process does: its messages
/// come again when their leases end.
///
/// # Errors
/// `Config` if a limit of the queue or of `options` cannot work, naming it; any error of
/// [`Queue::subscribe`].
pub async fn open(
    queue: &dyn Queue,
    options: QueueOptions,
    runtime: &Runtime,
) -> Result<Arc<dyn BatchConsumer>> {
    // Before anything is opened: a limit of the options that cannot work is refused without I/O.
    options.limit(queue.settings())?;
    let subscription = queue.subscribe(&options.group).await?;
    let (settings, capabilities, replay) = match subscription.opened() {
        Some(opened) => (opened.settings, opened.capabilities, opened.replay),
        None => (queue.settings(), queue.capabilities(), 0),
    };
    let settings = match options.limit(settings) {
        Ok(settings) => settings,
        Err(error) => {
            // The error that explains the failure is the first.
            let _ = subscription.close().await;
            return Err(error);
        }
    };
    let assignment = Assignment {
        stream: queue.stream().clone(),
        group: options.group,
        partition: None,
        generation: 0,
        replay,
    };
    let engine = Engine::new(
        subscription,
        settings,
        options.redelivery,
        assignment,
        runtime,
    );
    let engine = Arc::new(engine);
    let driver = runtime.spawn(driver::drive(engine.clone()));
    Ok(Arc::new(QueueConsumer {
        engine,
        capabilities,
        runtime: runtime.clone(),
        driver: Mutex::new(Some(driver)),
    }))
}

struct QueueConsumer {
    engine: Arc<Engine>,
    capabilities: Capabilities,
    runtime: Runtime,
    driver: Mutex<Option<Task<()>>>,
}

#[async_trait]
impl BatchConsumer for QueueConsumer {
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        let settler: Arc<dyn Settler> = self.engine.clone();
        let parts = self.engine.receive(max.max(1)).await?;
        Ok(parts
            .into_iter()
            .map(|parts| Delivery::new(parts, settler.clone()))
            .collect())
    }

    async fn drain(&self) -> Result<()> {
        // First: what is given back while messages still flow could come to this consumer again.
        self.engine.subscription().stop().await;
        self.engine.with(|machine, now| {
            if !machine.is_draining() {
                machine.drain(now);
            }
        });
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        self.engine.with(|machine, _| machine.hurry(true));
        let flushed = self
            .engine
            .until(|machine, now| match machine.is_flushed() {
                true => Some(Ok(())),
                false => machine.ack_failure(now).map(Err),
            });
        let flushed = flushed.await;
        let lost = self.engine.with(|machine, _| {
            machine.hurry(false);
            machine.take_lost()
        });
        let queue = &self.engine.assignment().stream;
        flushed.map_err(|error: Error| {
            error.context(format!(
                "queue {queue}: handled messages are not acknowledged"
            ))
        })?;
        match lost {
            0 => Ok(()),
            lost => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "queue {queue}: {lost} handled messages could not be acknowledged before their \
                     leases ended and may come again"
                ),
            )),
        }
    }

    async fn close(&self) -> Result<()> {
        self.engine.subscription().stop().await;
        let first = self.engine.with(|machine, now| {
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
            .engine
            .until(|machine, _| machine.is_idle().then_some(()));
        let idle = Box::pin(idle);
        let closed = select(idle, self.runtime.sleep(CLOSING)).await;
        let queue = &self.engine.assignment().stream;
        if let Either::Right(_) = closed {
            tracing::warn!(
                %queue,
                "not all messages could be acknowledged or given back: they come again when their \
                 leases end"
            );
        }
        let driver = lock(&self.driver).take();
        drop(driver);
        self.engine.subscription().close().await
    }

    fn pause(&self, paused: bool) {
        self.engine.with(|machine, _| machine.pause(paused));
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn status(&self) -> ConsumerStatus {
        let mut status = ConsumerStatus::default();
        self.engine.look(|machine| {
            status.unreachable_since = machine.unreachable_since();
            status.paused = machine.is_paused();
        });
        status
    }
}

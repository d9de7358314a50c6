use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::{BatchProducer, Capabilities, Event, Lane, Result, Runtime, SendReport};
use async_trait::async_trait;

use crate::error;
use crate::faults::Operation;
use crate::log::Verdict;
use crate::stream::Stream;

/// Sends to one stream, under one lock per batch.
pub(crate) struct MemoryProducer {
    stream: Arc<Stream>,
    runtime: Runtime,
    capabilities: Capabilities,
    closed: AtomicBool,
}

/// The lane of events without a key. They go to all partitions in turn, so they need a lane apart
/// from those of the partitions.
const KEYLESS: Lane = Lane(u64::MAX);

impl MemoryProducer {
    pub(crate) fn new(stream: Arc<Stream>, runtime: Runtime, capabilities: Capabilities) -> Self {
        Self {
            stream,
            runtime,
            capabilities,
            closed: AtomicBool::new(false),
        }
    }

    fn store(&self, events: &[Event], judge: impl FnMut(&Event) -> Verdict) -> SendReport {
        match self.stream.append(events, self.runtime.wall(), judge) {
            Ok(report) => report,
            Err(error) => SendReport::failed(events.len(), &error),
        }
    }

    async fn send_with_faults(&self, events: &[Event]) -> SendReport {
        let plan = &self.stream.plan;
        let Some(fault) = plan.draw(Operation::Send, &self.runtime) else {
            return self.store(events, |event| plan.judge(event, &self.runtime));
        };
        fault.delay_request(&self.runtime).await;
        let report = match fault.error() {
            None => self.store(events, |event| plan.judge(event, &self.runtime)),
            Some(error) => {
                let stored = fault.applied_prefix(events.len(), &self.runtime);
                if stored > 0 {
                    drop(self.store(&events[..stored], |_| Verdict::Store));
                }
                SendReport::failed(events.len(), error)
            }
        };
        fault.delay_answer(&self.runtime).await;
        report
    }
}

#[async_trait]
impl BatchProducer for MemoryProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        if self.closed.load(Ordering::Relaxed) {
            return SendReport::failed(events.len(), &error::closed(&self.stream.name));
        }
        if events.is_empty() {
            return SendReport::new(Vec::new());
        }
        if self.stream.plan.is_armed() {
            return self.send_with_faults(events).await;
        }
        self.store(events, |_| Verdict::Store)
    }

    fn lane(&self, event: &Event) -> Lane {
        event
            .key()
            .map_or(KEYLESS, |key| Lane(self.stream.lane(key)))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

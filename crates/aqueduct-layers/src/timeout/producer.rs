use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{BatchProducer, Capabilities, Event, Lane, Result, Runtime, SendReport};
use async_trait::async_trait;

/// A producer with a time limit for each request of an attempt.
pub(super) struct TimedProducer {
    inner: Arc<dyn BatchProducer>,
    limit: Duration,
    runtime: Runtime,
}

impl TimedProducer {
    pub(super) fn new(inner: Arc<dyn BatchProducer>, limit: Duration, runtime: Runtime) -> Self {
        Self {
            inner,
            limit,
            runtime,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchProducer for TimedProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        let sending = self.inner.send_batch(events);
        let limit = self.limit * self.inner.consecutive_requests(events).max(1);
        let sent = self.runtime.timeout(limit, "sending", sending).await;
        sent.unwrap_or_else(|late| SendReport::failed(events.len(), &late))
    }

    fn lane(&self, event: &Event) -> Lane {
        self.inner.lane(event)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn deduplicates(&self) -> Option<Duration> {
        self.inner.deduplicates()
    }

    fn consecutive_requests(&self, events: &[Event]) -> u32 {
        self.inner.consecutive_requests(events)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

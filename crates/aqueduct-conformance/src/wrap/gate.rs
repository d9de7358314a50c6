use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_core::{BatchProducer, Capabilities, Event, Lane, Result, Runtime, SendReport};
use async_trait::async_trait;

/// A producer that delays every call while its gate is shut.
pub(crate) struct Gated {
    inner: Arc<dyn BatchProducer>,
    runtime: Runtime,
    shut: AtomicBool,
    held: AtomicUsize,
}

impl Gated {
    pub(crate) fn new(inner: Arc<dyn BatchProducer>, runtime: &Runtime) -> Arc<Self> {
        Arc::new(Self {
            inner,
            runtime: runtime.clone(),
            shut: AtomicBool::new(true),
            held: AtomicUsize::new(0),
        })
    }

    /// Opens the gate for all calls.
    pub(crate) fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
    }

    /// Returns the number of events sent to it so far.
    pub(crate) fn taken(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchProducer for Gated {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        self.held.fetch_add(events.len(), Ordering::SeqCst);
        while self.shut.load(Ordering::SeqCst) {
            self.runtime.sleep(Duration::from_millis(2)).await;
        }
        self.inner.send_batch(events).await
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

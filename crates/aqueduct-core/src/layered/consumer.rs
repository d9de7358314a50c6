use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use event_listener::Event as Signal;
use futures::lock::Mutex;

use super::settler::Interceptors;
use super::staging::Staging;
use crate::{Backoff, BatchConsumer, Capabilities, ConsumerStatus, Delivery, Error, Result, Retry};

/// A consumer behind layers; made by [`LayeredConsumer::wrap`].
///
/// - A dead letter that was redriven for another group is acknowledged before any layer sees it.
/// - A received delivery passes each layer's [`admit`](crate::Interceptor::admit), innermost first.
///   Deliveries that a layer settles are never handed out; if it settles a whole batch,
///   `receive_batch` keeps waiting. A layer further out that was asked about such a delivery in an
///   earlier round sees a deferral, and releases its state for it.
/// - `receive_batch` is cancel safe: received deliveries stay staged and come with the next call, which
///   asks every layer again. If a layer fails, `receive_batch` returns its error and the batch stays
///   staged; a retryable error carries a wait that grows with each failure in a row (100 ms to 10 s),
///   so that a caller that waits never spins.
/// - Deliveries that are staged when the consumer drains or closes are given back; no attempt counts.
/// - Closing and flushing flush the layers, outermost first, then the inner consumer.
pub struct LayeredConsumer {
    inner: Arc<dyn BatchConsumer>,
    names: Vec<&'static str>,
    layers: Interceptors,
    staging: Mutex<Staging>,
    gives_back: AtomicBool,
    paused: AtomicBool,
    changed: Signal,
}

const PACE: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

impl LayeredConsumer {
    pub(super) fn new(
        inner: Arc<dyn BatchConsumer>,
        names: Vec<&'static str>,
        layers: Interceptors,
    ) -> Self {
        Self {
            inner,
            names,
            staging: Mutex::new(Staging::new(layers.clone())),
            layers,
            gives_back: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            changed: Signal::new(),
        }
    }

    async fn receive(&self, staging: &mut Staging, max: usize) -> Result<Vec<Delivery>> {
        staging.give_back_revoked();
        loop {
            if self.gives_back.swap(false, Ordering::AcqRel) {
                staging.give_back_all();
            }
            self.settle_owed(staging).await?;
            if staging.waiting.is_empty() {
                let batch = self.inner.receive_batch(max).await?;
                if batch.is_empty() {
                    return Ok(Vec::new());
                }
                staging.receive(batch);
                self.settle_owed(staging).await?;
            } else if self.paused.load(Ordering::Acquire) {
                self.resumed().await;
                staging.give_back_revoked();
                continue;
            }
            if !staging.admitted {
                self.admit(staging).await?;
                staging.admitted = true;
            }
            if !staging.waiting.is_empty() {
                staging.failures = 0;
                return Ok(staging.hand_out(max));
            }
            yield_now().await;
        }
    }

    async fn admit(&self, staging: &mut Staging) -> Result<()> {
        for (at, layer) in self.layers.iter().enumerate().rev() {
            if staging.waiting.is_empty() {
                break;
            }
            staging.reached = staging.reached.min(at);
            let decided = match layer.admit(&staging.waiting).await {
                Ok(admissions) => staging.decide(at, admissions),
                Err(error) => Err(error),
            };
            match decided {
                Ok(false) => {}
                Ok(true) => {
                    self.settle_owed(staging).await?;
                    // A deferred delivery supersedes the later ones of its key (rule 2).
                    staging.give_back_revoked();
                    self.settle_owed(staging).await?;
                }
                Err(error) => {
                    let name = self.names.get(at).copied().unwrap_or_default();
                    let error = error.context(format_args!("layer {name}"));
                    return Err(paced(error, staging));
                }
            }
        }
        Ok(())
    }

    async fn settle_owed(&self, staging: &mut Staging) -> Result<()> {
        match staging.settle_owed().await {
            Ok(()) => Ok(()),
            Err(error) => Err(paced(error, staging)),
        }
    }

    async fn resumed(&self) {
        while self.paused.load(Ordering::Acquire) && !self.gives_back.load(Ordering::Acquire) {
            let changed = self.changed.listen();
            if self.paused.load(Ordering::Acquire) && !self.gives_back.load(Ordering::Acquire) {
                changed.await;
            }
        }
    }

    /// Gives back staged deliveries: here, or in the call under way as soon as it continues.
    async fn give_back(&self) {
        self.gives_back.store(true, Ordering::Release);
        self.changed.notify(usize::MAX);
        if let Some(mut staging) = self.staging.try_lock() {
            staging.give_back_all();
            // A failed settlement stays pending, or is revoked when the inner consumer closes.
            let _ = staging.settle_owed().await;
        }
    }

    async fn flush_layers(&self) -> Result<()> {
        for layer in self.layers.iter() {
            layer.flush().await?;
        }
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchConsumer for LayeredConsumer {
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        let mut staging = self.staging.lock().await;
        self.receive(&mut staging, max.max(1)).await
    }

    async fn drain(&self) -> Result<()> {
        self.inner.drain().await?;
        self.give_back().await;
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        self.flush_layers().await?;
        self.inner.flush().await
    }

    async fn close(&self) -> Result<()> {
        self.give_back().await;
        let flushed = self.flush_layers().await;
        let closed = self.inner.close().await;
        if let Some(mut staging) = self.staging.try_lock() {
            staging.settlers.clear();
        }
        flushed.and(closed)
    }

    fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.inner.pause(paused);
        self.changed.notify(usize::MAX);
    }

    fn capabilities(&self) -> Capabilities {
        self.layers
            .iter()
            .rev()
            .fold(self.inner.capabilities(), |inner, layer| {
                layer.capabilities(inner)
            })
    }

    fn status(&self) -> ConsumerStatus {
        self.inner.status()
    }
}

/// Adds a wait to a retryable error without one: core has no clock to wait on.
fn paced(error: Error, staging: &mut Staging) -> Error {
    staging.failures = staging.failures.saturating_add(1);
    match error.retry() {
        Retry::Now => error.with_retry(Retry::After(PACE.ceiling(staging.failures))),
        _ => error,
    }
}

/// Lets other tasks run, and the caller cancel, while layers settle everything.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

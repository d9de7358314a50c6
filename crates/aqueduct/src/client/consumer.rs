use std::fmt;
use std::sync::Arc;

use aqueduct_core::{Capabilities, ConsumerStatus, Delivery, Result};

/// A member of a group that the caller pulls from. Clones are the same member.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event};
///
/// let client = Client::from_toml(r#"
///     [client]
///     source = "/shop"
///
///     [streams.orders]
///     url = "memory:"
///
///     [groups.archive]
///     stream = "orders"
///     on_reject = "drop"
/// "#).await?;
/// client.producer("orders").await?.send(Event::new("order.placed")).await?;
///
/// let consumer = client.consumer("archive").await?;
/// for delivery in consumer.receive_batch(100).await? {
///     delivery.ack().await?;
/// }
/// consumer.flush().await?; // what is acked is durable
/// consumer.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct Consumer(Arc<dyn aqueduct_core::BatchConsumer>);

impl Consumer {
    pub(super) fn new(inner: Arc<dyn aqueduct_core::BatchConsumer>) -> Self {
        Self(inner)
    }

    /// Waits for one delivery; `None` if the consumer has ended. Cancel safe.
    ///
    /// # Errors
    /// Errors of the backend or the lease store; a retryable one may be retried.
    pub async fn receive(&self) -> Result<Option<Delivery>> {
        Ok(self.0.receive_batch(1).await?.pop())
    }

    /// Waits for one delivery, then returns up to `max` (at least 1) available ones; none if the
    /// consumer has ended. Cancel safe.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive).
    pub async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        self.0.receive_batch(max.max(1)).await
    }

    /// Stops fetching; deliveries that are out may still be settled.
    ///
    /// # Errors
    /// Errors of the backend.
    pub async fn drain(&self) -> Result<()> {
        self.0.drain().await
    }

    /// Commits the settled events and waits until that is durable.
    ///
    /// # Errors
    /// Errors of the lease store.
    pub async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }

    /// Commits, gives up every partition, and ends: deliveries still out are revoked. Closing again
    /// has no effect.
    ///
    /// # Errors
    /// Errors of the lease store.
    pub async fn close(&self) -> Result<()> {
        self.0.close().await
    }

    /// Holds back deliveries; leases are kept.
    pub fn pause(&self) {
        self.0.pause(true);
    }

    /// Lets deliveries flow again.
    pub fn resume(&self) {
        self.0.pause(false);
    }

    /// Returns its capabilities, as opened.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    /// Returns its status, for health, readiness and lag.
    pub fn status(&self) -> ConsumerStatus {
        self.0.status()
    }

    /// Returns the consumer as the contract defines it, for code that is generic over consumers.
    pub fn into_inner(self) -> Arc<dyn aqueduct_core::BatchConsumer> {
        self.0
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Consumer").field(&self.status()).finish()
    }
}

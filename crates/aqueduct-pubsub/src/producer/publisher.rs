use std::time::Duration;

use aqueduct_core::{Result, Runtime};
use google_cloud_pubsub::client::BasePublisher;
use google_cloud_pubsub::model::Message;
use tokio::sync::Semaphore;

use super::REQUEST_BYTES;
use crate::config::Sending;
use crate::connection::Connection;
use crate::error::{not_published, timed_out};
use crate::metrics::Metrics;
use crate::names::short_name;

/// The requests that one connection carries at once before the next ones wait for it.
const PER_CHANNEL: usize = 100;

/// Makes publish requests to one topic, each once.
///
/// Each request has a client's publisher of its own, which is cheap. A publisher keeps a task for
/// every ordering key it has seen, and pauses a key after a failure: one that ends with its request
/// holds at most one key, and its key's next request begins unpaused. The producer engine has one
/// batch of a key in flight and sends what failed first, which keeps the order.
pub(crate) struct Publisher {
    connection: Connection,
    base: BasePublisher,
    /// The resource name.
    topic: String,
    timeout: Duration,
    requests: Semaphore,
    runtime: Runtime,
    metrics: Metrics,
}

impl Publisher {
    pub(crate) fn new(
        connection: Connection,
        base: BasePublisher,
        topic: String,
        sending: &Sending,
        runtime: &Runtime,
    ) -> Self {
        Self {
            connection,
            base,
            metrics: Metrics::new(short_name(&topic)),
            topic,
            timeout: sending.publish_timeout,
            requests: Semaphore::new(PER_CHANNEL * sending.channels),
            runtime: runtime.clone(),
        }
    }

    /// Sends one request; all its messages have its outcome. They must fit in a request.
    pub(crate) async fn send(&self, messages: Vec<Message>) -> Result<()> {
        // The semaphore is never closed.
        let _permit = self.requests.acquire().await;
        self.metrics.requests.increment(1);
        let count = messages.len();
        let publisher = {
            let _tokio = self.connection.enter();
            // The batch goes out with its last message; the delay is never waited for.
            self.base
                .publisher(self.topic.as_str())
                .set_message_count_threshold(u32::try_from(count).unwrap_or(u32::MAX))
                .set_byte_threshold(u32::try_from(REQUEST_BYTES).unwrap_or(u32::MAX))
                .set_delay_threshold(Duration::from_millis(100))
                .build()
        };
        let sent: Vec<_> = messages
            .into_iter()
            .map(|it| publisher.publish(it))
            .collect();
        let stored = async {
            let mut outcome = Ok(());
            for future in sent {
                if let Err(error) = future.await {
                    outcome = outcome.and(Err(error));
                }
            }
            outcome
        };
        match self.runtime.timeout(self.timeout, "publish", stored).await {
            Ok(Ok(())) => {
                self.metrics.sent.increment(count as u64);
                Ok(())
            }
            Ok(Err(error)) => Err(not_published(self.what(), error)),
            Err(_) => Err(timed_out(self.what(), self.timeout)),
        }
    }

    fn what(&self) -> String {
        format!("publishing to topic {}", short_name(&self.topic))
    }
}

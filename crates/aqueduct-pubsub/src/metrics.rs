use metrics::{Counter, counter};

/// Metrics of a topic. The handles are registered once, when it is opened, so install the recorder
/// before.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Publish requests.
    pub(crate) requests: Counter,
    /// Messages stored.
    pub(crate) sent: Counter,
    /// Messages received, repeated ones included.
    pub(crate) received: Counter,
    /// Streams opened anew after an error or the end of one.
    pub(crate) reopened: Counter,
    /// Streams opened anew because they were silent.
    pub(crate) silent: Counter,
}

impl Metrics {
    pub(crate) fn new(topic: &str) -> Self {
        let label = || topic.to_owned();
        Self {
            requests: counter!("aqueduct_pubsub_publish_requests_total", "topic" => label()),
            sent: counter!("aqueduct_pubsub_sent_total", "topic" => label()),
            received: counter!("aqueduct_pubsub_received_total", "topic" => label()),
            reopened: counter!("aqueduct_pubsub_streams_reopened_total", "topic" => label()),
            silent: counter!("aqueduct_pubsub_streams_silent_total", "topic" => label()),
        }
    }
}

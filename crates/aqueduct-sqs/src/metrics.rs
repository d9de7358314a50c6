use metrics::{Counter, counter};

/// Metrics of a queue. The handles are registered once, when the queue is opened, so install the
/// recorder before. Requests are counted as `aqueduct_sqs_requests_total`, by operation.
pub(crate) struct Metrics {
    pub(crate) get_queue: Counter,
    pub(crate) send: Counter,
    pub(crate) receive: Counter,
    pub(crate) receive_empty: Counter,
    pub(crate) delete: Counter,
    pub(crate) change_visibility: Counter,
    pub(crate) tags: Counter,
    /// Counts messages, not requests.
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) deleted: Counter,
}

impl Metrics {
    pub(crate) fn new(queue: &str) -> Self {
        let label = || queue.to_owned();
        let requests = |operation: &'static str| counter!("aqueduct_sqs_requests_total", "queue" => label(), "operation" => operation);
        Self {
            get_queue: requests("GetQueueAttributes"),
            send: requests("SendMessageBatch"),
            receive: requests("ReceiveMessage"),
            delete: requests("DeleteMessageBatch"),
            change_visibility: requests("ChangeMessageVisibilityBatch"),
            tags: requests("ListQueueTags"),
            receive_empty: counter!("aqueduct_sqs_empty_receives_total", "queue" => label()),
            sent: counter!("aqueduct_sqs_sent_total", "queue" => label()),
            received: counter!("aqueduct_sqs_received_total", "queue" => label()),
            deleted: counter!("aqueduct_sqs_deleted_total", "queue" => label()),
        }
    }
}

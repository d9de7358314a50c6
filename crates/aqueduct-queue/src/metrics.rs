use metrics::{Counter, Gauge, counter, gauge};

use crate::machine::Counts;

/// Metrics of one consumer. The handles are taken once, when it opens: install the recorder before.
pub(crate) struct Metrics {
    repeated: Counter,
    expired: Counter,
    released: Counter,
    in_flight: Gauge,
    pub(crate) failed_receives: Counter,
    pub(crate) failed_acks: Counter,
    pub(crate) failed_extensions: Counter,
}

impl Metrics {
    pub(crate) fn new(stream: &str, group: &str) -> Self {
        let count = |name: &'static str| counter!(name, "stream" => stream.to_owned(), "group" => group.to_owned());
        let failed = |operation: &'static str| counter!("aqueduct_queue_failures_total", "stream" => stream.to_owned(), "group" => group.to_owned(), "operation" => operation);
        Self {
            repeated: count("aqueduct_queue_repeated_total"),
            expired: count("aqueduct_queue_expired_total"),
            released: count("aqueduct_queue_released_total"),
            in_flight: gauge!("aqueduct_queue_in_flight", "stream" => stream.to_owned(), "group" => group.to_owned()),
            failed_receives: failed("receive"),
            failed_acks: failed("ack"),
            failed_extensions: failed("extend"),
        }
    }

    pub(crate) fn add(&self, counts: Counts, in_flight: usize) {
        self.repeated.increment(counts.repeated);
        self.expired.increment(counts.expired);
        self.released.increment(counts.released);
        self.in_flight.set(in_flight as f64);
    }
}

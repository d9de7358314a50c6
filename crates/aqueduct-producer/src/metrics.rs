use std::time::Duration;

use aqueduct_core::SmallStr;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::engine::Engine;

/// The metrics of one producer. Handles are taken when it is created: install the recorder
/// first.
pub(crate) struct Meter {
    stream: String,
    sent: Counter,
    retried: Counter,
    throttled: Counter,
    events: Gauge,
    bytes: Gauge,
    in_flight: Gauge,
    limited: Gauge,
    latency: Histogram,
    request: Histogram,
    batch: Histogram,
}

impl Meter {
    pub(crate) fn new(name: &SmallStr) -> Self {
        let stream = name.to_string();
        let label = || stream.clone();
        Self {
            sent: counter!("aqueduct_producer_sent_total", "stream" => label()),
            retried: counter!("aqueduct_producer_retried_total", "stream" => label()),
            throttled: counter!("aqueduct_producer_throttled_total", "stream" => label()),
            events: gauge!("aqueduct_producer_buffered_events", "stream" => label()),
            bytes: gauge!("aqueduct_producer_buffered_bytes", "stream" => label()),
            in_flight: gauge!("aqueduct_producer_in_flight_requests", "stream" => label()),
            limited: gauge!("aqueduct_producer_limited_lanes", "stream" => label()),
            latency: histogram!("aqueduct_producer_send_seconds", "stream" => label()),
            request: histogram!("aqueduct_producer_request_seconds", "stream" => label()),
            batch: histogram!("aqueduct_producer_request_events", "stream" => label()),
            stream,
        }
    }

    /// Records the end of a request.
    pub(crate) fn request(&self, events: usize, took: Duration) {
        self.request.record(took);
        self.batch.record(events as f64);
    }

    /// Reads the counts since the last time.
    pub(crate) fn read(&self, engine: &mut Engine) {
        let (events, bytes) = engine.buffered();
        let (in_flight, limited) = engine.load();
        self.events.set(events as f64);
        self.bytes.set(bytes as f64);
        self.in_flight.set(in_flight as f64);
        self.limited.set(limited as f64);
        let stats = engine.stats();
        self.sent.increment(std::mem::take(&mut stats.sent));
        self.retried.increment(std::mem::take(&mut stats.retried));
        self.throttled
            .increment(std::mem::take(&mut stats.throttled));
        for latency in stats.latencies.drain(..) {
            self.latency.record(latency);
        }
        for kind in stats.failed.drain(..) {
            let stream = self.stream.clone();
            counter!("aqueduct_producer_failed_total", "stream" => stream, "kind" => kind.as_str())
                .increment(1);
        }
    }
}

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{BatchProducer, Capabilities, Destination, Event, Lane, Result, SendReport};
use async_trait::async_trait;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, info_span};

use super::TraceContext;

/// A producer that makes each attempt a span.
pub(super) struct TracedProducer {
    destination: Destination,
    span_name: String,
    inner: Arc<dyn BatchProducer>,
}

impl TracedProducer {
    pub(super) fn new(destination: Destination, inner: Arc<dyn BatchProducer>) -> Self {
        Self {
            span_name: format!("send {}", destination.stream),
            destination,
            inner,
        }
    }

    fn span(&self, events: &[Event]) -> Span {
        let span = info_span!(
            "send",
            otel.name = self.span_name.as_str(),
            otel.kind = "producer",
            otel.status_code = Empty,
            messaging.system = self.destination.system.as_str(),
            messaging.destination.name = self.destination.stream.as_str(),
            messaging.operation.name = "send",
            "messaging.operation.type" = "send",
            messaging.batch.message_count = Empty,
            messaging.message.id = Empty,
            messaging.message.body.size = Empty,
            "cloudevents.event_type" = Empty,
            trace_id = Empty,
            span_id = Empty,
            "error.type" = Empty,
        );
        if span.is_disabled() {
            return span;
        }
        match events {
            [event] => describe(&span, event),
            events => {
                span.record("messaging.batch.message_count", events.len());
            }
        }
        span
    }
}

/// Records the fields of a single event.
pub(super) fn describe(span: &Span, event: &Event) {
    span.record("messaging.message.id", display(event.id()));
    span.record("cloudevents.event_type", event.kind());
    if let Some(data) = event.data() {
        span.record("messaging.message.body.size", data.len());
    }
    if let Some(context) = TraceContext::of(event) {
        record_ids(span, &context);
    }
}

/// Records the ids of the span itself, for logs that no tracing backend numbers.
pub(super) fn record_ids(span: &Span, context: &TraceContext) {
    span.record(
        "trace_id",
        display(format_args!("{:032x}", context.trace_id())),
    );
    span.record(
        "span_id",
        display(format_args!("{:016x}", context.span_id())),
    );
}

/// Marks a span as failed.
pub(super) fn record_error(span: &Span, kind: aqueduct_core::ErrorKind) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind.as_str());
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchProducer for TracedProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        let span = self.span(events);
        if span.is_disabled() {
            return self.inner.send_batch(events).await;
        }
        let report = self.inner.send_batch(events).instrument(span.clone()).await;
        let mut errors = report.outcomes().iter().filter_map(|it| it.as_ref().err());
        if let Some(error) = errors.next() {
            record_error(&span, error.kind());
        }
        report
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

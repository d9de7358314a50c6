use std::sync::Arc;

use aqueduct_core::{Assignment, HandlerCall, HandlerFuture, HandlerInterceptor, Parts, SmallStr};
use futures::FutureExt as _;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, info_span};

use super::Tracer;
use super::context::{Current, Scoped, TraceContext};
use super::producer::{describe, record_error, record_ids};

/// Makes each call of a handler a span that continues the trace of its event.
pub(super) struct HandlerSpans {
    tracer: Arc<Tracer>,
}

impl HandlerSpans {
    pub(super) fn new(tracer: Arc<Tracer>) -> Self {
        Self { tracer }
    }

    /// Returns the context of the call: a child of a single event's. A batch has many parents and
    /// belongs to none of their traces.
    fn context(&self, call: &HandlerCall<'_>) -> (Option<TraceContext>, TraceContext) {
        let runtime = &self.tracer.runtime;
        let parent = match call.deliveries {
            [(parts, _)] => TraceContext::of(&parts.event),
            _ => None,
        };
        let own = match &parent {
            Some(parent) => parent.child(runtime),
            None => TraceContext::root(runtime, self.tracer.options.sampled),
        };
        (parent, own)
    }

    fn span(&self, call: &HandlerCall<'_>) -> Span {
        let destination = call.destination;
        let span = info_span!(
            "process",
            otel.name = Empty,
            otel.kind = "consumer",
            otel.status_code = Empty,
            messaging.system = destination.system.as_str(),
            messaging.destination.name = destination.stream.as_str(),
            messaging.destination.partition.id = Empty,
            messaging.consumer.group.name = Empty,
            messaging.operation.name = "process",
            "messaging.operation.type" = "process",
            messaging.batch.message_count = Empty,
            messaging.message.id = Empty,
            messaging.message.body.size = Empty,
            messaging.message.conversation_id = Empty,
            "cloudevents.event_type" = Empty,
            aqueduct.attempt = Empty,
            trace_id = Empty,
            span_id = Empty,
            parent_span_id = Empty,
            "error.type" = Empty,
        );
        if span.is_disabled() {
            return span;
        }
        span.record(
            "otel.name",
            display(format_args!("process {}", destination.stream)),
        );
        if let Some((_, assignment)) = call.deliveries.first() {
            span.record("messaging.consumer.group.name", assignment.group.as_str());
        }
        match call.deliveries {
            [(parts, assignment)] => single(&span, parts, assignment),
            many => {
                span.record("messaging.batch.message_count", many.len());
            }
        }
        span
    }
}

fn single(span: &Span, parts: &Parts, assignment: &Assignment) {
    describe(span, &parts.event);
    span.record("aqueduct.attempt", parts.attempt);
    if let Some(partition) = &assignment.partition {
        span.record("messaging.destination.partition.id", partition.as_str());
    }
    if let Some(correlation) = parts.event.correlation_id() {
        span.record("messaging.message.conversation_id", correlation);
    }
}

impl HandlerInterceptor for HandlerSpans {
    fn call<'a>(&'a self, call: HandlerCall<'a>, handler: HandlerFuture<'a>) -> HandlerFuture<'a> {
        let (parent, own) = self.context(&call);
        let span = self.span(&call);
        if let Some(parent) = &parent {
            span.record(
                "parent_span_id",
                display(format_args!("{:016x}", parent.span_id())),
            );
        }
        record_ids(&span, &own);
        let mut context = own;
        if let Some(propagator) = &self.tracer.propagator {
            if let Some(parent) = &parent {
                propagator.set_parent(&span, parent);
            }
            if let Some(of_span) = propagator.context(&span) {
                context = of_span;
            }
        }
        let received = match call.deliveries {
            [(parts, _)] => parts.event.traceparent().map(SmallStr::from),
            _ => None,
        };
        let scoped = Scoped::new(Current { context, received }, handler);
        if span.is_disabled() {
            return scoped.boxed();
        }
        let failed = span.clone();
        let noted = async move {
            let result = scoped.await;
            if let Err(error) = &result {
                record_error(&failed, error.kind());
            }
            result
        };
        noted.instrument(span).boxed()
    }
}

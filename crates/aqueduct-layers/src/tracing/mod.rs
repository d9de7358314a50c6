//! Tracing: spans around sending and handling, and one trace across both.

mod context;
mod handler;
mod options;
mod producer;
mod propagator;

use std::fmt;
use std::sync::Arc;

use aqueduct_core::{BatchProducer, Destination, Event, HandlerInterceptor, Layer, Runtime, Stage};

pub use self::context::TraceContext;
use self::context::with_current;
use self::handler::HandlerSpans;
pub use self::options::TracingOptions;
use self::producer::TracedProducer;
pub use self::propagator::Propagator;

/// Layer that traces: spans through the `tracing` facade with the names of OpenTelemetry's
/// messaging conventions, and a W3C trace context in each event.
///
/// - An event that is sent carries `traceparent` and `tracestate` in the CloudEvents attributes of
///   those names, on every backend. It continues the trace of the handler that sends it, or starts
///   one. An event that already names a trace keeps it; one that inherited the trace of the event
///   being handled ([`caused_by`](aqueduct_core::Event::caused_by)) becomes a child of the handler.
/// - Each `send_batch` runs in a span `send STREAM`, each call of a handler in a span
///   `process STREAM` that continues the event's trace. A failure sets `error.type` and
///   `otel.status_code`.
/// - A malformed context is dropped and a new trace begins.
///
/// Exporters are the application's: `tracing-opentelemetry` reads the `otel.*` fields. A
/// [`Propagator`] joins its span ids with those in the events.
///
/// ```
/// use std::sync::Arc;
/// use aqueduct_core::{Destination, Layer, BatchProducer, Result, Runtime, layered_producer};
/// use aqueduct_layers::{Tracing, TracingOptions};
///
/// fn traced(producer: Arc<dyn BatchProducer>, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
///     let tracing: Arc<dyn Layer> = Arc::new(Tracing::new(TracingOptions::default(), runtime));
///     layered_producer(producer, &[tracing], &Destination::new("aws_kinesis", "orders"))
/// }
/// ```
#[derive(Clone)]
pub struct Tracing {
    tracer: Arc<Tracer>,
}

/// The state shared by the parts of the layer.
struct Tracer {
    options: TracingOptions,
    runtime: Runtime,
    propagator: Option<Arc<dyn Propagator>>,
}

impl Tracing {
    /// Creates a layer that makes its own span ids from the runtime's randomness.
    pub fn new(options: TracingOptions, runtime: &Runtime) -> Self {
        Self {
            tracer: Arc::new(Tracer {
                options,
                runtime: runtime.clone(),
                propagator: None,
            }),
        }
    }

    /// Takes the span ids from a tracing backend.
    #[must_use]
    pub fn with_propagator(self, propagator: impl Propagator + 'static) -> Self {
        Self {
            tracer: Arc::new(Tracer {
                options: self.tracer.options.clone(),
                runtime: self.tracer.runtime.clone(),
                propagator: Some(Arc::new(propagator)),
            }),
        }
    }
}

impl Layer for Tracing {
    fn name(&self) -> &'static str {
        "tracing"
    }

    fn stage(&self) -> Stage {
        Stage::Observe
    }

    fn stamp(&self, event: &mut Event) {
        self.tracer.stamp(event);
    }

    fn producer(
        &self,
        destination: &Destination,
        inner: Arc<dyn BatchProducer>,
    ) -> Arc<dyn BatchProducer> {
        Arc::new(TracedProducer::new(destination.clone(), inner))
    }

    fn handler(&self) -> Option<Arc<dyn HandlerInterceptor>> {
        Some(Arc::new(HandlerSpans::new(self.tracer.clone())))
    }
}

impl Tracer {
    /// Writes a context into an event that has none of its own.
    fn stamp(&self, event: &mut Event) {
        let context = with_current(|current| {
            if let Some(own) = event.traceparent() {
                let received = current.and_then(|it| it.received.as_deref());
                // The cause's context was copied: the handler's span is nearer.
                let inherited = event.causation_id().is_some() && received == Some(own);
                let is_valid = TraceContext::parse(own, None).is_some();
                if is_valid && !inherited {
                    return None;
                }
            }
            let of_span = self
                .propagator
                .as_ref()
                .and_then(|it| it.context(&tracing::Span::current()));
            Some(match (of_span, current) {
                (Some(context), _) => context,
                (None, Some(current)) => current.context.child(&self.runtime),
                (None, None) => TraceContext::root(&self.runtime, self.options.sampled),
            })
        });
        if let Some(context) = context {
            context.write_to(event);
        }
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("options", &self.tracer.options)
            .finish_non_exhaustive()
    }
}

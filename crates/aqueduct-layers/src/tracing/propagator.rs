use super::TraceContext;

/// Connects the spans of this layer with a tracing backend that makes its own span ids, such as
/// OpenTelemetry.
///
/// Without one, the layer makes the ids itself and writes them into the fields `trace_id` and
/// `span_id` of its spans. With one, the ids are the backend's: `parent` is called for the span
/// around a handler, `context` for the span in which an event is sent.
///
/// ```
/// use aqueduct_layers::tracing::{Propagator, TraceContext};
/// use tracing::Span;
///
/// /// Continues the sender's trace; keeps the ids that the layer makes.
/// struct Logged;
///
/// impl Propagator for Logged {
///     fn set_parent(&self, span: &Span, parent: &TraceContext) {
///         tracing::debug!(parent: span, %parent, "continued"); // or: span.set_parent(...)
///     }
///
///     fn context(&self, _span: &Span) -> Option<TraceContext> {
///         None // or: TraceContext::parse(...) of the span's context
///     }
/// }
/// ```
pub trait Propagator: Send + Sync {
    /// Makes `parent` the parent of a span that has just been made.
    fn set_parent(&self, span: &tracing::Span, parent: &TraceContext);

    /// Returns the context of a span; `None` if the backend does not record it.
    fn context(&self, span: &tracing::Span) -> Option<TraceContext>;
}

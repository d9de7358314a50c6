use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Abandoned, Assignment, BatchProducer, Capabilities, Delivery, Error, Event, Parts, Result,
    Settlement, Settler, Settling, SmallStr, StreamName,
};

/// Adds one concern to producers, to consumers, or to both; each method defaults to identity.
///
/// Layers given to [`LayeredConsumer::wrap`](crate::LayeredConsumer::wrap) in the order `[a, b]`
/// nest as `a(b(consumer))`: `b` sees a delivery first and a settlement last.
pub trait Layer: Send + Sync {
    /// Returns the name, for errors and metrics.
    fn name(&self) -> &'static str;

    /// Returns the stage: stages must not fall from the outermost layer to the innermost, and no
    /// name may come twice.
    fn stage(&self) -> Stage;

    /// Edits an event once: when its producer accepts it, in the sender's own task, before the
    /// first attempt. A retried event keeps the edit, so its identity must not depend on it.
    fn stamp(&self, event: &mut Event) {
        let _ = event;
    }

    /// Wraps the producer of `destination`: one `send_batch` is one attempt.
    fn producer(
        &self,
        destination: &Destination,
        inner: Arc<dyn BatchProducer>,
    ) -> Arc<dyn BatchProducer> {
        let _ = destination;
        inner
    }

    /// Returns the interceptor for consumers; `None` if the layer leaves them alone.
    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        None
    }

    /// Returns the interceptor for calls of handlers; `None` if the layer leaves them alone. Only a
    /// worker calls handlers: a pull loop never runs this one.
    fn handler(&self) -> Option<Arc<dyn HandlerInterceptor>> {
        None
    }
}

/// Checks that stages do not fall from the first (outermost) layer to the last and that no name
/// comes twice.
///
/// # Errors
/// `Config`, naming both layers and their stages or places.
pub fn check_layers(layers: &[Arc<dyn Layer>]) -> Result<()> {
    for (at, layer) in layers.iter().enumerate() {
        let name = layer.name();
        if let Some(first) = layers[..at].iter().position(|other| other.name() == name) {
            return Err(Error::config(format!(
                "layer `{name}` is given twice, as number {} and number {} from the outside: once \
                 is enough",
                first + 1,
                at + 1,
            )));
        }
        if let Some(outer) = at.checked_sub(1).map(|before| &layers[before])
            && outer.stage() > layer.stage()
        {
            return Err(Error::config(format!(
                "layer `{}` (stage {}) stands outside layer `{name}` (stage {}): stages run \
                 observe, idempotency, dead_letters, backend from the outermost layer to the \
                 innermost",
                outer.name(),
                outer.stage(),
                layer.stage(),
            )));
        }
    }
    Ok(())
}

/// A stream, as layers name it in traces and errors.
///
/// ```
/// use aqueduct_core::Destination;
///
/// let destination = Destination::new("aws_sqs", "orders");
/// assert_eq!(destination.stream.as_str(), "orders");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination {
    /// The messaging system by its OpenTelemetry name, such as `aws_sqs`; a URL's scheme if the
    /// conventions have none.
    pub system: SmallStr,
    /// The stream's name in its backend.
    pub stream: StreamName,
}

impl Destination {
    /// Returns the destination of that system and stream.
    pub fn new(system: impl Into<SmallStr>, stream: impl Into<StreamName>) -> Self {
        Self {
            system: system.into(),
            stream: stream.into(),
        }
    }
}

/// The part of a layer that works on the calls of handlers.
///
/// ```
/// use aqueduct_core::{HandlerCall, HandlerFuture, HandlerInterceptor};
///
/// struct Timed;
///
/// impl HandlerInterceptor for Timed {
///     fn call<'a>(&'a self, call: HandlerCall<'a>, handler: HandlerFuture<'a>) -> HandlerFuture<'a> {
///         Box::pin(async move {
///             let result = handler.await;
///             println!("{}: {} events", call.destination.stream, call.deliveries.len());
///             result
///         })
///     }
/// }
/// ```
pub trait HandlerInterceptor: Send + Sync {
    /// Surrounds one call of a handler: one event, or the events of a batch handler.
    ///
    /// The future resolves to the handler's failure or rejection, or `Ok`. The outcome of a handler
    /// that ran to its end stands, whatever is returned here. Returning without running `handler` to its
    /// end cancels it: an error makes the call a failed attempt.
    fn call<'a>(&'a self, call: HandlerCall<'a>, handler: HandlerFuture<'a>) -> HandlerFuture<'a>;
}

/// One call of a handler under way.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// The deliveries of one call of a handler.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HandlerCall<'a> {
    /// The stream of the first delivery.
    pub destination: &'a Destination,
    /// One delivery, or all of a batch.
    pub deliveries: &'a [(&'a Parts, &'a Assignment)],
}

impl<'a> HandlerCall<'a> {
    /// Returns the call for `deliveries`, the first of which came from `destination`.
    pub fn new(
        destination: &'a Destination,
        deliveries: &'a [(&'a Parts, &'a Assignment)],
    ) -> Self {
        Self {
            destination,
            deliveries,
        }
    }
}

/// The place of a layer, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Observes what the handler sees: traces, metrics, time limits.
    Observe,
    /// Deduplicates: layers outside it never see a repetition.
    Idempotency,
    /// Turns events that are given up into dead letters.
    DeadLetters,
    /// Next to the backend.
    Backend,
}

impl Stage {
    /// Returns the stage in lower case words, as errors name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Idempotency => "idempotency",
            Self::DeadLetters => "dead_letters",
            Self::Backend => "backend",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The part of a layer that works on a consumer. Core owns staging, closing and the folding of
/// capabilities.
#[async_trait]
pub trait Interceptor: Send + Sync {
    /// Decides about deliveries before they are handed out; returns one admission per delivery, in
    /// order. Must be repeatable: after a cancelled `receive_batch` it is called again for the same
    /// deliveries. A delivery that a layer further in settles in such a repetition is deferred here.
    ///
    /// # Errors
    /// Any error: it is returned from `receive_batch`, and the deliveries come with the next call. A worker
    /// ends with one that is not retryable, so a store that cannot be reached is `Unavailable`, `Throttled`
    /// or `TimedOut`.
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>>;

    /// Intercepts a settlement on its way in. Most layers call `next.settle(parts, settlement)`.
    ///
    /// # Errors
    /// Those of [`Settler::settle`], and the layer's own: the delivery counts as unsettled then.
    fn settle<'a>(
        &'a self,
        parts: &'a Parts,
        settlement: Settlement,
        next: Next<'a>,
    ) -> Settling<'a> {
        next.settle(parts, settlement)
    }

    /// Releases what it holds for a delivery that was not settled; core tells the inner settler.
    fn abandoned(&self, parts: &Parts, settler: &dyn Settler, why: Abandoned) {
        let _ = (parts, settler, why);
    }

    /// Returns the capabilities of the layer around a consumer with `inner`.
    fn capabilities(&self, inner: Capabilities) -> Capabilities {
        inner
    }

    /// Makes pending state durable before the inner consumer is flushed or closed.
    ///
    /// # Errors
    /// `Unavailable`, `Throttled` or `TimedOut` if flushing again may help; `Full` or `Denied` from a store of
    /// the layer. The inner consumer is not flushed then; it is closed all the same.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// The decision of a layer about one delivery.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Admission {
    /// Hand it out.
    Pass,
    /// Settle it without handing it out; the layers further in see the settlement.
    Settle(Settlement),
}

/// The layers further in, then the settler.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    rest: &'a [Arc<dyn Interceptor>],
    settler: &'a dyn Settler,
}

impl<'a> Next<'a> {
    /// Creates the way through `rest`, first to last, to `settler`.
    pub fn new(rest: &'a [Arc<dyn Interceptor>], settler: &'a dyn Settler) -> Self {
        Self { rest, settler }
    }

    /// Passes the settlement on.
    pub fn settle(self, parts: &'a Parts, settlement: Settlement) -> Settling<'a> {
        match self.rest.split_first() {
            Some((first, rest)) => first.settle(
                parts,
                settlement,
                Next {
                    rest,
                    settler: self.settler,
                },
            ),
            None => self.settler.settle(parts, settlement),
        }
    }

    /// Returns the settler at the end, for its assignment and revocation.
    pub fn settler(self) -> &'a dyn Settler {
        self.settler
    }
}

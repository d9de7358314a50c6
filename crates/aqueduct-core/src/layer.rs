use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Capabilities, Delivery, Parts, Producer, Result, Settlement, Settler, Settling};

/// Adds one concern to producers, to consumers, or to both; identity unless it says otherwise.
///
/// Layers given to [`LayeredConsumer::wrap`](crate::LayeredConsumer::wrap) in the order `[a, b]`
/// nest as `a(b(consumer))`: `b` sees a delivery first and a settlement last.
pub trait Layer: Send + Sync {
    /// The name, for errors and metrics.
    fn name(&self) -> &'static str;

    /// Where it belongs: stages must not fall from the outermost layer to the innermost, and no
    /// name may come twice.
    fn stage(&self) -> Stage;

    /// Wraps a producer.
    fn producer(&self, inner: Arc<dyn Producer>) -> Arc<dyn Producer> {
        inner
    }

    /// The interceptor for consumers; `None` where it leaves them alone.
    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        None
    }
}

/// Where a layer belongs, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Sees what the handler sees: traces, metrics, limits in time.
    Observe,
    /// Deduplicates: nothing outside it sees a repetition.
    Idempotency,
    /// Turns what is given up into dead letters.
    DeadLetters,
    /// Next to the backend.
    Backend,
}

impl Stage {
    /// The stage in lower case words, as errors name it.
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

/// A layer's hold on a consumer. Core owns staging, closing and the folding of capabilities.
#[async_trait]
pub trait Interceptor: Send + Sync {
    /// Decides about deliveries before they are handed out; each answer stands under the index of
    /// its delivery. Must be repeatable: a cancelled `receive_batch` asks again for the same ones.
    /// One that a layer further in settles when asked again is deferred here, whatever becomes of
    /// it there.
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>>;

    /// Sees a settlement on its way in. Most call `next.settle(parts, settlement)`.
    fn settle<'a>(
        &'a self,
        parts: &'a Parts,
        settlement: Settlement,
        next: Next<'a>,
    ) -> Settling<'a> {
        next.settle(parts, settlement)
    }

    /// Takes note that a delivery was dropped unsettled; the inner settler is told by core.
    fn abandoned(&self, parts: &Parts, settler: &dyn Settler) {
        let _ = (parts, settler);
    }

    /// What is left of the capabilities of what it wraps.
    fn capabilities(&self, inner: Capabilities) -> Capabilities {
        inner
    }

    /// Makes durable what it still holds, before the inner consumer is flushed or closed.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// What a layer says of one delivery.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Admission {
    /// Hand it out.
    Pass,
    /// Settle it so, unseen; the layers further in see the settlement.
    Settle(Settlement),
}

/// The rest of the way in: the layers further in, then the settler.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    rest: &'a [Arc<dyn Interceptor>],
    settler: &'a dyn Settler,
}

impl<'a> Next<'a> {
    /// The way through `rest`, first to last, to `settler`.
    pub fn new(rest: &'a [Arc<dyn Interceptor>], settler: &'a dyn Settler) -> Self {
        Self { rest, settler }
    }

    /// Goes on with that settlement.
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

    /// The settler at the end: assignment and revocation.
    pub fn settler(self) -> &'a dyn Settler {
        self.settler
    }
}

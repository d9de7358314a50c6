use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aqueduct_core::outcomes::no_outcome;
use aqueduct_core::{Receipt, Result};

use crate::driver::Shared;
use crate::engine::{Answer, CallId};

/// A future of the outcome of an accepted event.
///
/// Dropping it does not recall the event; a failure without a caller comes back
/// from the next `flush`. Until a failure was seen here (or this was dropped), later events of the
/// same key fail as `Blocked`: await what you enqueue, in any order.
///
/// ```
/// use aqueduct_core::{Event, Result};
/// use aqueduct_producer::Producer;
///
/// /// Sends from one task, with every event in flight at once.
/// async fn pipeline(orders: &Producer, events: Vec<Event>) -> Result<()> {
///     let mut pending = Vec::new();
///     for event in events {
///         pending.push(orders.enqueue(event).await?);
///     }
///     for outcome in pending {
///         outcome.await?;
///     }
///     Ok(())
/// }
/// ```
#[must_use = "the event may fail, and until that was seen its key is blocked"]
pub struct Pending(pub(crate) Waiting);

impl Future for Pending {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(only(answer))
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// Waits for the result of a call, and abandons the call when dropped.
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    call: Option<CallId>,
}

impl Waiting {
    pub(crate) fn new(shared: &Arc<Shared>, call: CallId) -> Self {
        Self {
            shared: shared.clone(),
            call: Some(call),
        }
    }
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(call) = self.call else {
            return Poll::Pending;
        };
        match self
            .shared
            .with(|engine| engine.poll_call(call, cx.waker()))
        {
            None => Poll::Pending,
            Some(answer) => {
                self.call = None;
                Poll::Ready(answer)
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.shared.with(|engine| engine.abandon(call));
        }
    }
}

/// Returns the outcome of a call of one event.
pub(crate) fn only(answer: Answer) -> Result<Receipt> {
    let first = answer.outcomes.into_iter().next();
    first.unwrap_or_else(|| Err(no_outcome()))
}

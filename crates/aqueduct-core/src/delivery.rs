use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::{
    Error, Event, GroupName, Instant, PartitionId, Position, Result, Revocation, Revocations,
    SmallStr, StreamName, Timestamp,
};

/// One event handed out to a receiver; it owns its settlement.
///
/// Settle it once: [`ack`](Self::ack), [`nack`](Self::nack) or [`reject`](Self::reject). A
/// settlement that fails gives the delivery back. One that is dropped unsettled is redelivered
/// after a back-off, and counts as a failed attempt; [`drop_as`](Self::drop_as) and
/// [`give_back`](Self::give_back) are for receivers that stop before they have an outcome.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_core::{Delivery, ErrorKind, Result};
///
/// async fn handle(delivery: Delivery) -> Result<()> {
///     match delivery.event().decode_json::<u32>() {
///         Ok(number) if number < 100 => delivery.ack().await?,
///         Ok(_) => delivery.nack(Duration::from_secs(30)).await?,
///         Err(error) => delivery.reject(error.to_string()).await?,
///     }
///     Ok(())
/// }
/// ```
#[must_use = "a delivery that is dropped unsettled is redelivered"]
pub struct Delivery {
    parts: Parts,
    settler: Arc<dyn Settler>,
    settled: bool,
    abandoned_as: Abandoned,
}

/// Why a delivery ends without a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// Its receiver dropped it: a failed attempt.
    Dropped,
    /// Its handling was cancelled, or never began: it is redelivered without a failed attempt.
    Cancelled,
}

/// The fields of a delivery, passed by reference to its settler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parts {
    /// The event.
    pub event: Event,
    /// Its position in the partition; `None` on a queue.
    pub position: Option<Position>,
    /// The number of the attempt, from 1; [`Capability::HandlerAttempts`](crate::Capability) defines
    /// what is counted.
    pub attempt: u32,
    /// When the backend stored it; `None` if the backend does not report that.
    pub stored_at: Option<Timestamp>,
    /// When the right to settle ends unless it is extended; `None` if it does not expire.
    pub deadline: Option<Instant>,
    /// Identifies the delivery to its settler; opaque to all others.
    pub ticket: u64,
}

impl Parts {
    /// Creates the first attempt at `event`, with the settler's ticket.
    pub fn new(event: Event, ticket: u64) -> Self {
        Self {
            event,
            position: None,
            attempt: 1,
            stored_at: None,
            deadline: None,
            ticket,
        }
    }
}

/// The origin of the deliveries of one settler: stream, group, partition and generation.
///
/// ```
/// use aqueduct_core::Assignment;
///
/// /// Names the row that a handler writes: a newer owner of the partition has a higher generation.
/// fn fencing(assignment: &Assignment) -> (String, u64) {
///     (format!("{}/{}", assignment.stream, assignment.group), assignment.generation)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The stream that they were read from.
    pub stream: StreamName,
    /// The group that they were read for.
    pub group: GroupName,
    /// The partition; `None` on a queue.
    pub partition: Option<PartitionId>,
    /// Rises with each owner of the partition: a fencing number for the handler's own writes.
    pub generation: u64,
    /// Rises with each reset of the group, which tells a replay from a repetition.
    pub replay: u64,
}

/// The outcome of a delivery.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_core::{Delivery, Result, Settlement};
///
/// async fn later(delivery: Delivery) -> Result<()> {
///     let delay = Duration::from_secs(30);
///     delivery.settle(Settlement::Defer { delay }).await?; // counts no attempt
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Settlement {
    /// The event is handled.
    Ack,
    /// The attempt failed: the event is redelivered.
    Nack {
        /// The wait before the next attempt; `None` for the consumer's back-off.
        delay: Option<Duration>,
        /// The error, for the dead letter.
        error: Option<Error>,
    },
    /// The event can never be handled: it becomes a dead letter.
    Reject {
        /// The reason, for the dead letter.
        reason: SmallStr,
    },
    /// The event cannot be handled now, without a failure: it is redelivered and no attempt counts.
    Defer {
        /// The wait before the next attempt.
        delay: Duration,
    },
}

/// Settles the deliveries of one assignment. Backends and the group implement it, one per assignment,
/// so that settling allocates nothing.
pub trait Settler: Send + Sync {
    /// Returns the origin of the deliveries.
    fn assignment(&self) -> &Assignment;

    /// Settles one delivery; ready at once if no service has to be called.
    ///
    /// # Errors
    /// `Superseded` or `Revoked` if it may no longer be settled, `Closed` after the consumer was closed;
    /// `Unavailable`, `Throttled` or `TimedOut` if settling again may help; `Unsupported` for a rejection that
    /// nothing takes. It counts as unsettled then.
    fn settle<'a>(&'a self, parts: &'a Parts, settlement: Settlement) -> Settling<'a>;

    /// Moves the deadline to `by` from now. Succeeds without a deadline, too, while the delivery may
    /// be settled.
    ///
    /// # Errors
    /// `Superseded`, `Revoked` or `Closed` if it may no longer be settled; `Unavailable`, `Throttled` or
    /// `TimedOut` if the service could not be reached: the old deadline stands.
    fn extend<'a>(&'a self, parts: &'a Parts, by: Duration) -> Settling<'a>;

    /// Returns why the delivery may no longer be settled; `None` while it may.
    fn revocation(&self, parts: &Parts) -> Option<Revocation>;

    /// Returns the signal that fires when [`revocation`](Self::revocation) may have changed.
    fn revocations(&self) -> &Revocations;

    /// Takes back a delivery that was not settled. Must not block.
    fn abandon(&self, parts: &Parts, why: Abandoned);
}

/// The result of a settlement, ready or pending.
#[must_use = "a settlement under way does nothing unless awaited"]
pub enum Settling<'a> {
    /// The result.
    Ready(Result<()>),
    /// The call under way.
    Pending(Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>),
}

impl<'a> Settling<'a> {
    /// Creates a pending result.
    pub fn pending(call: impl Future<Output = Result<()>> + Send + 'a) -> Self {
        Self::Pending(Box::pin(call))
    }
}

impl Future for Settling<'_> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ready(result) => Poll::Ready(std::mem::replace(result, Ok(()))),
            Self::Pending(call) => call.as_mut().poll(cx),
        }
    }
}

impl Delivery {
    /// Creates a delivery of `parts` that `settler` settles.
    pub fn new(parts: Parts, settler: Arc<dyn Settler>) -> Self {
        Self {
            parts,
            settler,
            settled: false,
            abandoned_as: Abandoned::Dropped,
        }
    }

    /// Returns the event.
    pub fn event(&self) -> &Event {
        &self.parts.event
    }

    /// Returns the fields that the settler receives.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Returns its origin.
    pub fn assignment(&self) -> &Assignment {
        self.settler.assignment()
    }

    /// Returns the stream that it was read from.
    pub fn stream(&self) -> &StreamName {
        &self.assignment().stream
    }

    /// Returns the partition; `None` on a queue.
    pub fn partition(&self) -> Option<&PartitionId> {
        self.assignment().partition.as_ref()
    }

    /// Returns its position in the partition; `None` on a queue.
    pub fn position(&self) -> Option<Position> {
        self.parts.position
    }

    /// Returns the generation, which rises with each owner of the partition: a fencing number for the
    /// handler's own writes.
    pub fn generation(&self) -> u64 {
        self.assignment().generation
    }

    /// Returns the number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.parts.attempt
    }

    /// Returns when the right to settle ends unless it is extended; `None` if it does not expire.
    pub fn deadline(&self) -> Option<Instant> {
        self.parts.deadline
    }

    /// Returns a view that tells when it may no longer be settled.
    pub fn revoked(&self) -> Revoked<'_> {
        Revoked {
            parts: &self.parts,
            settler: &*self.settler,
        }
    }

    /// Settles it as handled. On a log this is durable with the next commit.
    ///
    /// # Errors
    /// `Superseded` or `Revoked` if it may no longer be settled; the error holds the delivery.
    pub fn ack(self) -> impl Future<Output = Result<(), SettleError>> + Send {
        self.settle(Settlement::Ack)
    }

    /// Settles it as failed: it is redelivered after `delay`, or after the consumer's back-off.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub fn nack(
        self,
        delay: impl Into<Option<Duration>>,
    ) -> impl Future<Output = Result<(), SettleError>> + Send {
        let delay = delay.into();
        self.settle(Settlement::Nack { delay, error: None })
    }

    /// Settles it as one that can never be handled: it becomes a dead letter with `reason`.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack), and `Unsupported` if no layer handles rejected events.
    pub fn reject(
        self,
        reason: impl Into<SmallStr>,
    ) -> impl Future<Output = Result<(), SettleError>> + Send {
        let reason = reason.into();
        self.settle(Settlement::Reject { reason })
    }

    /// Settles it.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn settle(mut self, settlement: Settlement) -> Result<(), SettleError> {
        match self.settler.settle(&self.parts, settlement).await {
            Ok(()) => {
                self.settled = true;
                Ok(())
            }
            Err(error) => Err(SettleError {
                error,
                delivery: Box::new(self),
            }),
        }
    }

    /// Moves the deadline to `by` from now. Succeeds without a deadline, too, while it may be settled.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn extend(&self, by: Duration) -> Result<()> {
        self.settler.extend(&self.parts, by).await
    }

    /// Gives it back at once without a settlement: it is redelivered without a failed attempt.
    pub fn give_back(mut self) {
        self.drop_as(Abandoned::Cancelled);
    }

    /// Sets the meaning of a drop from now on. Code that runs handlers and reports their failures
    /// itself sets [`Abandoned::Cancelled`], so that a cancellation does not count as a failure.
    pub fn drop_as(&mut self, why: Abandoned) {
        self.abandoned_as = why;
    }

    /// Splits it into its parts without settling it: the caller must settle it with the settler.
    pub fn into_parts(mut self) -> (Parts, Arc<dyn Settler>) {
        self.settled = true;
        let empty = Parts::new(Event::empty(), 0);
        (
            std::mem::replace(&mut self.parts, empty),
            self.settler.clone(),
        )
    }

    pub(crate) fn settler(&self) -> &Arc<dyn Settler> {
        &self.settler
    }

    pub(crate) fn set_settler(&mut self, settler: Arc<dyn Settler>) {
        self.settler = settler;
    }

    pub(crate) fn mark_settled(mut self) {
        self.settled = true;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            self.settler.abandon(&self.parts, self.abandoned_as);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("assignment", self.assignment())
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// Tells when a delivery may no longer be settled.
#[derive(Clone, Copy)]
pub struct Revoked<'a> {
    parts: &'a Parts,
    settler: &'a dyn Settler,
}

impl Revoked<'_> {
    /// Returns why it may no longer be settled; `None` while it may.
    pub fn reason(&self) -> Option<Revocation> {
        self.settler.revocation(self.parts)
    }

    /// Waits until it may no longer be settled.
    pub async fn wait(&self) -> Revocation {
        loop {
            let changed = self.settler.revocations().listen();
            if let Some(reason) = self.reason() {
                return reason;
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Revoked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revoked").field(&self.reason()).finish()
    }
}

/// A failed settlement, with the delivery to retry or to drop.
///
/// ```
/// use aqueduct_core::{Delivery, ErrorKind};
///
/// async fn acknowledge(delivery: Delivery) {
///     if let Err(failed) = delivery.ack().await {
///         match failed.error.kind() {
///             ErrorKind::Superseded | ErrorKind::Revoked => {} // it comes again
///             _ => drop(failed.delivery.ack().await),          // once more
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct SettleError {
    /// The error.
    pub error: Error,
    /// The delivery, unsettled.
    pub delivery: Box<Delivery>,
}

impl fmt::Display for SettleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event {} was not settled: {}",
            self.delivery.event().id(),
            self.error
        )
    }
}

impl std::error::Error for SettleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<SettleError> for Error {
    fn from(failed: SettleError) -> Self {
        failed.error
    }
}

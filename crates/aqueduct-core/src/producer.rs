use std::time::Duration;

use async_trait::async_trait;

use crate::{Capabilities, Error, Event, PartitionId, Position, Result};

/// Sends events to one stream, one attempt per call.
///
/// Backends implement it. Applications hold the producer engine's handle, which adds batches, order
/// across calls, bounds, rate limits per lane and retries.
#[async_trait]
pub trait BatchProducer: Send + Sync {
    /// Tries once to store `events` and returns one outcome for each, in its place.
    ///
    /// The prefix rule holds: of the events of one key in this call, those stored are a prefix;
    /// behind one that is not stored, or may not be, the later ones of that key fail as `Blocked`
    /// without effect. An event over the size limit fails alone. An empty slice returns an empty
    /// report. Dropping the future leaves every outcome unknown.
    /// [`SendOutcomes`](crate::outcomes::SendOutcomes) keeps these rules for implementors.
    ///
    /// # Errors
    /// Per event: `TooLarge` over the limit, `Invalid` where it cannot be encoded, `Throttled` over
    /// a rate, `Unavailable` or `TimedOut` where the service fails (effect unknown once the request
    /// was sent), `Denied`, `NotFound`, and `Closed` after [`close`](Self::close).
    async fn send_batch(&self, events: &[Event]) -> SendReport;

    /// Returns the lane of `event`: events of one lane share a throughput limit, so the engine
    /// limits and pauses them together. Never blocks.
    fn lane(&self, event: &Event) -> Lane;

    /// Returns the capabilities and limits, as opened.
    fn capabilities(&self) -> Capabilities;

    /// Returns for how long the service drops an event that is sent again, counted from the first time;
    /// `None`, the default, if it stores the event twice. The engine sends an event again whose outcome
    /// is unknown if its deadline is within that time.
    fn deduplicates(&self) -> Option<Duration> {
        None
    }

    /// Returns the most requests that one `send_batch` of `events` makes one after the other; 1 by
    /// default. The engine's time-out is that of one request.
    fn consecutive_requests(&self, events: &[Event]) -> u32 {
        let _ = events;
        1
    }

    /// Closes the producer: calls in progress finish, later ones fail as `Closed`. Closing again
    /// does nothing.
    ///
    /// # Errors
    /// `Unavailable` or `TimedOut` if a resource could not be released; the producer is closed all the same.
    async fn close(&self) -> Result<()>;
}

/// Holds the outcomes of one `send_batch`, index-aligned with its events.
///
/// ```
/// use aqueduct_core::{Error, ErrorKind, Receipt, SendReport};
///
/// let throttled = Error::new(ErrorKind::Throttled, "over 1 MiB/s");
/// let report = SendReport::new(vec![Ok(Receipt::default()), Err(throttled)]);
/// assert!(report.outcomes()[0].is_ok());
/// assert_eq!(report.into_result().unwrap_err().kind(), ErrorKind::Throttled);
/// ```
#[derive(Clone, Debug)]
#[must_use = "each event has an outcome of its own, and some may have failed"]
pub struct SendReport(Vec<Result<Receipt>>);

impl SendReport {
    /// Creates a report from the outcomes, one for each event in its place.
    pub fn new(outcomes: Vec<Result<Receipt>>) -> Self {
        Self(outcomes)
    }

    /// Creates the report of a call that failed as a whole: the same error for each of `count`
    /// events.
    pub fn failed(count: usize, error: &Error) -> Self {
        Self((0..count).map(|_| Err(error.clone())).collect())
    }

    /// Returns the outcomes, one for each event in its place.
    pub fn outcomes(&self) -> &[Result<Receipt>] {
        &self.0
    }

    /// Returns the outcomes, one for each event in its place.
    pub fn into_outcomes(self) -> Vec<Result<Receipt>> {
        self.0
    }

    /// Returns all receipts.
    ///
    /// # Errors
    /// The first error.
    pub fn into_result(self) -> Result<Vec<Receipt>> {
        self.0.into_iter().collect()
    }
}

/// Names the place where an event was stored.
///
/// ```
/// use aqueduct_core::Receipt;
///
/// let receipt = Receipt::default(); // of a queue
/// assert_eq!((receipt.partition, receipt.position), (None, None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The partition, where the backend has any.
    pub partition: Option<PartitionId>,
    /// The position, where the backend reports it.
    pub position: Option<Position>,
}

impl Receipt {
    /// Creates the receipt of a log: partition and position.
    pub fn at(partition: PartitionId, position: Position) -> Self {
        Self {
            partition: Some(partition),
            position: Some(position),
        }
    }
}

/// Identifies what shares a throughput limit: a shard, a link, an ordering key.
///
/// ```
/// use aqueduct_core::Lane;
///
/// // One lane for each shard: a throttled one pauses, the others flow.
/// let lanes = ["shard-0", "shard-1"].map(|shard| Lane(aqueduct_core::hash::hash_key(shard) as u64));
/// assert_ne!(lanes[0], lanes[1]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u64);

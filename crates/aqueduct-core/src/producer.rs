use async_trait::async_trait;

use crate::{Capabilities, Error, Event, PartitionId, Position, Result};

/// Sends events to one stream, one attempt a call.
///
/// Backends implement it; applications hold the producer engine, which batches, orders,
/// bounds, paces and retries on top of it.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Tries once to store `events`, and answers for each under its index.
    ///
    /// The prefix rule holds: of the events of one key in this call, those stored are a prefix;
    /// after one that is not stored, or whose fate is unknown, the later ones of that key answer
    /// `Blocked` without effect. An event over the limit fails alone. An empty slice answers an
    /// empty report. Dropping the future leaves every outcome unknown.
    async fn send_batch(&self, events: &[Event]) -> SendReport;

    /// The lane of `event`: events of one lane share a throughput limit and a failure, so they are
    /// paced together. Never blocks.
    fn lane(&self, event: &Event) -> Lane;

    /// What the backend can do, as opened.
    fn capabilities(&self) -> Capabilities;

    /// Ends the producer: calls under way finish, later ones answer `Closed`. Closing twice is
    /// closing once.
    async fn close(&self) -> Result<()>;
}

/// The outcomes of one `send_batch`, index-aligned with its events.
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
    /// The report of those outcomes, one for each event in its place.
    pub fn new(outcomes: Vec<Result<Receipt>>) -> Self {
        Self(outcomes)
    }

    /// The report of a call that failed as a whole: the same error for each of `count` events.
    pub fn failed(count: usize, error: &Error) -> Self {
        Self((0..count).map(|_| Err(error.clone())).collect())
    }

    /// The outcomes, one for each event in its place.
    pub fn outcomes(&self) -> &[Result<Receipt>] {
        &self.0
    }

    /// The outcomes, one for each event in its place.
    pub fn into_outcomes(self) -> Vec<Result<Receipt>> {
        self.0
    }

    /// All receipts, or the first error.
    pub fn into_result(self) -> Result<Vec<Receipt>> {
        self.0.into_iter().collect()
    }
}

/// Where an event was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The partition, where the backend has any.
    pub partition: Option<PartitionId>,
    /// The position, where the backend tells it.
    pub position: Option<Position>,
}

impl Receipt {
    /// The receipt of a log: partition and position.
    pub fn at(partition: PartitionId, position: Position) -> Self {
        Self {
            partition: Some(partition),
            position: Some(position),
        }
    }
}

/// Events of one lane share a throughput limit: a shard, a link, an ordering key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u64);

use std::fmt;

use aqueduct_core::{Error, Event, Receipt, Result};

use crate::engine::Answer;

/// Some events of a `send_all` are not stored, or may not be.
///
/// ```
/// use aqueduct_core::Event;
/// use aqueduct_producer::Producer;
///
/// /// Returns the events that are to be sent again.
/// async fn send(orders: &Producer, events: Vec<Event>) -> Vec<Event> {
///     match orders.send_all(events).await {
///         Ok(_) => Vec::new(),
///         Err(failure) => {
///             println!("{failure}; {} are stored", failure.stored());
///             failure.events.into_iter().map(|(_, event)| event).collect()
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartialFailure<T = Receipt> {
    /// One outcome per event, by index.
    pub outcomes: Vec<Result<T>>,
    /// The failed events, given back with their index in ascending order.
    pub events: Vec<(usize, Event)>,
}

impl<T> PartialFailure<T> {
    pub(crate) fn new(outcomes: Vec<Result<T>>, mut events: Vec<(usize, Event)>) -> Self {
        events.sort_unstable_by_key(|(index, _)| *index);
        Self { outcomes, events }
    }

    /// Returns what the events led to if none failed. `outcomes` has one for each event, in order.
    ///
    /// # Errors
    /// Every outcome, and the events that failed.
    pub fn or_all(outcomes: Vec<Result<T>>, events: Vec<Event>) -> Result<Vec<T>, Self> {
        if outcomes.iter().all(Result::is_ok) {
            return Ok(outcomes.into_iter().flatten().collect());
        }
        let events = events.into_iter().enumerate().zip(&outcomes);
        let failed = events.filter(|(_, outcome)| outcome.is_err());
        let events = failed.map(|(event, _)| event).collect();
        Err(Self { outcomes, events })
    }

    /// Returns the error of the first event that failed.
    pub fn first_error(&self) -> Option<&Error> {
        self.outcomes
            .iter()
            .find_map(|outcome| outcome.as_ref().err())
    }

    /// Returns the number of stored events.
    pub fn stored(&self) -> usize {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.is_ok())
            .count()
    }
}

impl<T> From<PartialFailure<T>> for Error {
    /// Returns the first error, prefixed with the counts.
    fn from(failure: PartialFailure<T>) -> Self {
        let (failed, all) = (failure.events.len(), failure.outcomes.len());
        match failure.first_error() {
            Some(first) => first
                .clone()
                .context(format_args!("{failed} of {all} events failed, the first")),
            None => Error::new(aqueduct_core::ErrorKind::Internal, "no event failed"),
        }
    }
}

impl<T> fmt::Display for PartialFailure<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, all) = (self.events.len(), self.outcomes.len());
        write!(f, "{failed} of {all} events failed")?;
        match self.first_error() {
            Some(first) => write!(f, ", the first: {first}"),
            None => Ok(()),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for PartialFailure<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.first_error()
            .map(|error| error as &(dyn std::error::Error + 'static))
    }
}

/// Converts the result of a whole call.
pub(crate) fn sorted(answer: Answer) -> Result<Vec<Receipt>, PartialFailure> {
    if answer.failed.is_empty() {
        // In place: the receipts reuse the allocation of the outcomes.
        let outcomes = answer.outcomes.into_iter();
        return Ok(outcomes.map(Result::unwrap_or_default).collect());
    }
    Err(PartialFailure::new(answer.outcomes, answer.failed))
}

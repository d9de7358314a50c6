use std::fmt;

use aqueduct_core::{Error, Event, Result};

use super::router::Routed;

/// Some events of a [`send_all`](crate::RoutingProducer::send_all) are not stored in every stream of
/// their route, or may not be.
///
/// ```
/// use aqueduct::{Event, RoutingProducer};
///
/// /// Returns the events that are to be sent again.
/// async fn send(shop: &RoutingProducer, events: Vec<Event>) -> Vec<Event> {
///     match shop.send_all(events).await {
///         Ok(_) => Vec::new(),
///         Err(failure) => failure.events.into_iter().map(|(_, event)| event).collect(),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoutingFailure {
    /// One outcome per event, by index: every stream that stored it, or the first stream's error.
    pub outcomes: Vec<Result<Vec<Routed>>>,
    /// The failed events, given back with their index in ascending order.
    pub events: Vec<(usize, Event)>,
}

impl RoutingFailure {
    /// Returns all outcomes if none is an error.
    pub(super) fn or_all(
        outcomes: Vec<Result<Vec<Routed>>>,
        events: Vec<Event>,
    ) -> Result<Vec<Vec<Routed>>, Self> {
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
        let mut errors = self.outcomes.iter().filter_map(|it| it.as_ref().err());
        errors.next()
    }
}

impl fmt::Display for RoutingFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, all) = (self.events.len(), self.outcomes.len());
        write!(f, "{failed} of {all} events failed")?;
        match self.first_error() {
            Some(first) => write!(f, ", the first: {first}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RoutingFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.first_error()
            .map(|error| error as &(dyn std::error::Error + 'static))
    }
}

impl From<RoutingFailure> for Error {
    /// Returns the first error, prefixed with the counts.
    fn from(failure: RoutingFailure) -> Self {
        let (failed, all) = (failure.events.len(), failure.outcomes.len());
        match failure.first_error() {
            Some(first) => first
                .clone()
                .context(format_args!("{failed} of {all} events failed, the first")),
            None => Error::new(aqueduct_core::ErrorKind::Internal, "no event failed"),
        }
    }
}

use aqueduct_producer::PartialFailure;

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
///
/// The outcome of an event is every stream that stored it, or the first stream's error.
pub type RoutingFailure = PartialFailure<Vec<Routed>>;

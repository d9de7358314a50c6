//! Routing: which stream takes an event, by configuration or by a closure.
//!
//! [`Client::router`](crate::Client::router) sends by the rules of `[routes.NAME]`, or by code
//! given to [`ClientBuilder::router`](crate::ClientBuilder::router).

#[doc(inline)]
pub use aqueduct_core::{Route, Router};
#[doc(inline)]
pub use aqueduct_routing::{EventField, Otherwise, Pattern, Rules};

#[doc(inline)]
pub use crate::client::{Routed, RoutingFailure, RoutingProducer};

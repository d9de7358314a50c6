//! Routing: which stream takes an event, by configuration or by a closure.
//!
//! [`Client::router`](crate::Client::router) sends by the rules of `[routes.NAME]`, or by what
//! [`ClientBuilder::router`](crate::ClientBuilder::router) was given.

#[doc(inline)]
pub use aqueduct_core::{Route, Router};
#[doc(inline)]
pub use aqueduct_routing::{Field, Otherwise, Pattern, Rules};

#[doc(inline)]
pub use crate::client::{Routed, RoutingProducer};

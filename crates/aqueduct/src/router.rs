//! Routing: which stream takes an event, by configuration or by a closure.
//!
//! [`Client::router`](crate::Client::router) sends by the rules of `[routes.NAME]`, or by code
//! given to [`ClientBuilder::router`](crate::ClientBuilder::router).

#[doc(inline)]
pub use aqueduct_core::{Balance, Load, Route, Router};
#[cfg(feature = "cel")]
#[doc(inline)]
pub use aqueduct_routing::Expression;
#[doc(inline)]
pub use aqueduct_routing::{
    And, Condition, EventField, Filtered, Matched, Matching, OrElse, Pattern, RouterExt, Rules,
    Targets,
};

#[doc(inline)]
pub use crate::client::{Routed, RoutingFailure, RoutingProducer};

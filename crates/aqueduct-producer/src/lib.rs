//! The producer engine of Aqueduct: the one place where sending is batched, ordered, bounded,
//! limited per lane and retried. It is what applications hold, over a backend's
//! [`Producer`](aqueduct_core::BatchProducer), which is one attempt per call.

mod driver;
mod engine;
mod metrics;
mod options;
mod partial_failure;
mod pending;
mod producer;
mod sink;

pub use self::options::{ProducerOptions, RetryBudget};
pub use self::partial_failure::PartialFailure;
pub use self::pending::Pending;
pub use self::producer::Producer;
pub use self::sink::EventSink;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Layers of Aqueduct: what every team writes around a stream, once, above the providers.
//!
//! - [`dead_letters`]: what cannot be handled becomes a dead letter.
//! - [`idempotency`]: what comes twice takes effect once.
//! - [`tracing`](crate::tracing): spans around sending and handling, one trace across both.
//! - [`timeout`]: sending, settling and handling end in time.

pub mod dead_letters;
pub mod idempotency;
pub mod timeout;
pub mod tracing;

pub use self::dead_letters::{
    DeadLetterOptions, DeadLetters, OnExhausted, OnReject, ProducerDeadLetters, RejectPolicy,
};
pub use self::idempotency::{Idempotency, IdempotencyOptions};
pub use self::timeout::{Timeout, TimeoutOptions};
pub use self::tracing::{Propagator, TraceContext, Tracing, TracingOptions};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

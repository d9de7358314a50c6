//! Layers of Aqueduct: common functions around a stream, independent of its provider.
//!
//! - [`dead_letters`]: events that cannot be handled become dead letters.
//! - [`idempotency`]: an event that arrives twice is handled once.
//! - [`mod@tracing`]: spans around sending and handling, one trace across both.
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

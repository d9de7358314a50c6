//! Layers of Aqueduct: what every team writes around a stream, once, above the providers.
//!
//! - [`dispatch`]: the one place where sending is batched, ordered, bounded, paced and retried.

pub mod dispatch;

pub use self::dispatch::{
    Dispatch, DispatchOptions, EventSink, PartialFailure, Pending, RetryBudget,
};

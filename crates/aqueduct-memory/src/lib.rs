//! The reference backend of Aqueduct: streams in the memory of one process, with the faults of a
//! real service injected on demand.

mod admin;
mod backend;
mod config;
mod dead_letters;
mod error;
mod faults;
mod idempotency;
mod leases;
mod log;
mod partition;
mod producer;
mod ranges;
mod reader;
mod reference;
mod source;
mod stream;

pub use self::backend::MemoryBackend;
pub use self::faults::{Applied, MemoryFault, MemoryFaults, Operation};

/// The examples of the README compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

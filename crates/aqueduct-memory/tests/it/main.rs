//! The memory backend.
#![allow(clippy::unwrap_used)]

mod common;

mod allocations;
mod conformance;
mod faults;
mod log;
mod stores;

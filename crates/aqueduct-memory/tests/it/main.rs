//! The memory backend.
#![allow(clippy::unwrap_used)]

// Shared with the tests that need a process of their own.
#[path = "../common/mod.rs"]
mod common;

mod conformance;
mod faults;
mod log;
mod stores;

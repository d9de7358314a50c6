//! The Pub/Sub backend on its emulator.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bounded;
mod common;
mod conformance;
mod proxy;
mod receiving;
mod refusals;
mod sending;
mod unreachable;

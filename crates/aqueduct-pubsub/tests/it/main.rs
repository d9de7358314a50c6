//! The Pub/Sub backend on its emulator.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod conformance;
mod proxy;
mod receiving;
mod sending;
mod unreachable;

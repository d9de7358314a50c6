//! The Event Hubs backend on its emulator.
#![allow(clippy::unwrap_used)]

mod common;
mod conformance;

//! The Event Hubs backend on its emulator.
#![allow(clippy::unwrap_used)]

mod access;
mod common;
mod conformance;
mod producer;
mod source;

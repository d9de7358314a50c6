//! The Kinesis backend on its emulator.
#![allow(clippy::unwrap_used)]

mod aggregation;
mod common;
mod conformance;
mod fan_out;
mod producer;
mod refusals;
mod source;

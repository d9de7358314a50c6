//! The object store backend: conditional writes, Microsoft's layout, faults and refusals.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod conformance;
mod cost;
mod dead_letters;
mod faults;
mod group;
mod processor;
mod start;
mod support;
mod takeover;
mod wire;
mod written;

//! The contract as a user of the crate sees it.
#![allow(clippy::unwrap_used)]

mod allocations;

//! The runtimes from outside.
#![allow(clippy::unwrap_used)]

mod simulation;

//! The suite on the memory backend, intact and broken on purpose, and on a queue made of it.
#![allow(clippy::unwrap_used)]

mod common;

mod broken;
mod memory;
mod queue;

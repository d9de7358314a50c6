//! The group over the memory backend.
#![allow(clippy::unwrap_used)]

// Shared with the tests that need a process of their own.
#[path = "../common/mod.rs"]
mod common;

mod clocks;
mod consumer;
mod health;
mod leaving;
mod members;
mod threads;

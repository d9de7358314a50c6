//! The group over the memory backend.
#![allow(clippy::unwrap_used)]

mod common;

mod allocations;
mod clocks;
mod consumer;
mod health;
mod isolation;
mod leaving;
mod members;
mod threads;

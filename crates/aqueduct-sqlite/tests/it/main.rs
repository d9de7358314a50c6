//! The SQLite backend against real files: each test has a folder of its own.

#![allow(clippy::unwrap_used)]

mod child;
mod dead_letters;
mod errors;
mod file;
mod idempotency;
mod leases;
mod log;
mod outbox;
mod processes;
mod retention;
mod retention_clock;
mod support;
mod transactions;
mod wal;

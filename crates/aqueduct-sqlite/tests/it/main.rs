//! Tests of the SQLite backend on real files: each test has its own folder.

#![allow(clippy::unwrap_used)]

mod child;
mod conformance;
mod dead_letters;
mod errors;
mod file;
mod handling;
mod idempotency;
mod leases;
mod log;
mod outbox;
mod processes;
mod retention;
mod retention_clock;
#[cfg(unix)]
mod stopped;
mod support;
mod transactions;
mod wal;

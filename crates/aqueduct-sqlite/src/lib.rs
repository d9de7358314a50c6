#![doc = include_str!("../README.md")]

mod admin;
mod append;
mod backend;
mod clock_jumps;
mod codec;
mod config;
mod dead_letters;
mod error;
mod filesystem;
mod handle_once;
mod handled_records;
mod idempotency;
mod identity;
mod jitter;
mod leases;
mod notify;
mod outbox;
mod poller;
mod processes;
mod producer;
mod publishing;
mod readers;
mod reference;
mod retention;
mod retention_clock;
mod schema;
mod source;
mod store;
mod stored_times;
mod streams;
mod write_lock;
mod writer;

pub use rusqlite;

pub use self::backend::SqliteBackend;
pub use self::config::{SqliteOptions, SyncMode};
pub use self::error::SqlResultExt;
pub use self::idempotency::Completed;
pub use self::outbox::Outbox;
pub use self::store::SqliteStore;

#![doc = include_str!("../README.md")]

mod backend;
mod bucket;
mod config;
mod connect;
mod dead_letters;
mod error;
mod http;
mod idempotency;
mod json;
mod leases;
mod names;
mod probe;
mod reference;
mod service_names;
mod transport;

pub use object_store;

pub use self::backend::ObjectStoreBackend;

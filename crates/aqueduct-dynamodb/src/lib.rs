#![doc = include_str!("../README.md")]

mod backend;
mod config;
mod error;
mod expression;
mod idempotency;
mod item;
mod leases;
mod open;
mod reference;
mod table;

pub use self::backend::DynamoDbBackend;

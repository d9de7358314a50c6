#![doc = include_str!("../README.md")]

mod admin;
pub mod aggregation;
mod backend;
mod config;
mod encoding;
mod error;
mod hash;
mod metrics;
mod producer;
mod raw_response;
mod reference;
mod shards;
mod source;
mod stream;

pub use self::backend::KinesisBackend;

#![doc = include_str!("../README.md")]

mod address;
mod admin;
mod backend;
mod config;
mod dead_letters;
mod digest;
mod encoding;
mod error;
mod ids;
mod metrics;
mod producer;
mod queue;
mod reference;
mod source;

pub use self::backend::SqsBackend;

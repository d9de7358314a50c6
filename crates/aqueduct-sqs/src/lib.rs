#![doc = include_str!("../README.md")]

mod address;
mod admin;
mod backend;
mod config;
mod consumer;
mod encoding;
mod error;
mod ids;
mod letters;
mod metrics;
mod producer;
mod queue;

pub use self::backend::SqsBackend;

#![doc = include_str!("../README.md")]

mod admin;
mod backend;
mod codec;
mod config;
mod connection;
mod dead_letters;
mod error;
mod metrics;
mod names;
mod producer;
mod reference;
mod replay;
mod service;
mod source;
mod subscription;
mod transforms;

pub use self::backend::PubSubBackend;
pub use self::replay::PubSubReplay;

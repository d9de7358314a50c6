#![doc = include_str!("../README.md")]

mod admin;
mod auth;
mod backend;
mod codec;
mod config;
mod error;
mod hash;
mod hub;
mod metrics;
mod producer;
mod reference;
mod source;
mod transport;

pub use self::backend::EventHubsBackend;

//! The application crate from end to end.
#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach helpers

mod aws;
mod bad_input;
mod compile_fail;
mod configuration;
mod consuming;
#[cfg(feature = "sqlite")]
mod embedded;
mod failing_stream;
mod foreign_backend;
mod handling;
mod innocents;
mod layers;
#[cfg(all(unix, feature = "sqlite"))]
mod open_files;
mod pipelines;
mod reference;
mod references;
mod requests;
mod routing;
mod routing_rules;
mod running;
mod secrets;
mod shop;
mod simulated;
mod together;

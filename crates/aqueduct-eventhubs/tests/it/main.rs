//! The Event Hubs backend on its emulator.
#![allow(clippy::unwrap_used)]

mod access;
mod common;
mod conformance;
#[cfg(feature = "entra")]
mod entra;
mod group;
mod producer;
mod source;
mod websocket;

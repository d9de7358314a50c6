//! Tests of the emulators on the wire.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "eventhubs")]
mod eventhubs;
#[cfg(feature = "pubsub")]
mod pubsub;

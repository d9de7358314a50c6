//! Tests of the emulators on the wire.
#![allow(clippy::unwrap_used)]

mod eventhubs;

//! Tests of the emulators on the wire.

mod eventhubs;

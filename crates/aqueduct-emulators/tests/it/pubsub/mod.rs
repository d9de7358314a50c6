//! The Pub/Sub emulator, tested with Google's client for Rust.

mod administration;
mod deliveries;
mod faults;
mod place;
mod readme;
mod replay;

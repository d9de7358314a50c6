//! Event Hubs, driven by an AMQP client that is not ours.

mod client;
mod epochs;
mod faults;
mod idle;
mod positions;
mod program;
mod readme;
mod security;
mod sending;

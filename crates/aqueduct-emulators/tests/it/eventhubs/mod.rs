//! Event Hubs, driven by an AMQP client that is not ours.

mod client;
mod epochs;
mod faults;
mod positions;
mod readme;
mod security;
mod sending;

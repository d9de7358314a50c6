//! Options, credentials, endpoints and errors of AWS clients, without a network: each test runs in
//! a process of its own, whose environment it chooses.
#![allow(clippy::unwrap_used)]

mod alone;
mod credentials;
mod endpoints;
mod errors;
mod options;
mod roles;
mod scripted;
mod secrets;
mod tls;
mod transport;

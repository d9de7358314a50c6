//! Tests specific to SQS: its errors, its redrive policy, foreign messages, lost responses.

#![allow(clippy::unwrap_used)]

mod common;
mod conformance;
mod errors;
mod lasting;
mod receivers;
mod receiving;
mod sending;
mod support;

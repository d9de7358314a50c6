//! Tests specific to SQS: its errors, its redrive policy, foreign messages, lost responses.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod lasting;
mod receivers;
mod receiving;
mod sending;
mod support;

//! What SQS alone has: its own errors, its redrive policy, foreign messages, lost answers.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod receiving;
mod support;

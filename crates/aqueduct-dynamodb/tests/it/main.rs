//! What only DynamoDB has: KCL's rows, tables, the service's refusals.
#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod cost;
mod errors;
mod foreign;
mod kcl;
mod lost;
mod records;
mod reset;
mod support;
mod tables;
mod written;

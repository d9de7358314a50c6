//! The DynamoDB backend: KCL's rows, tables, and refusals of the service.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod accounts;
mod common;
mod conformance;
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

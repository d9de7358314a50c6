//! The benchmark program from outside.
#![allow(clippy::unwrap_used)]

mod scenarios;

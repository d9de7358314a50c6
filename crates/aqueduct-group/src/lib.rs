//! Makes a consumer from any log and any lease store: leases, balance, order per key, commits.

mod budget;
mod consumer;
mod cost;
mod driver;
mod gate;
mod member;
mod offline;
mod options;
#[cfg(test)]
mod simulation;
mod tracker;

pub use self::budget::ByteBudget;
pub use self::consumer::Group;
pub use self::cost::{RequestCost, request_cost};
pub use self::gate::IsolationGate;
pub use self::options::{GroupOptions, OnGap};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

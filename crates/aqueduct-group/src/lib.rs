#![doc = include_str!("../README.md")]

mod budget;
mod consumer;
mod cost;
mod driver;
mod member;
mod offline;
mod options;
#[cfg(test)]
mod simulation;
mod tracker;

pub use self::budget::ByteBudget;
pub use self::consumer::Group;
pub use self::cost::{RequestCost, request_cost};
pub use self::options::{GroupOptions, OnGap};

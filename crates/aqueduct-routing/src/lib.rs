#![doc = include_str!("../README.md")]

mod pattern;
mod rules;

pub use self::pattern::Pattern;
pub use self::rules::{EventField, Otherwise, Rules};

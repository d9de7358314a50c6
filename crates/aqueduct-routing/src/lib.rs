#![doc = include_str!("../README.md")]

#[cfg(feature = "cel")]
mod cel;
mod condition;
mod field;
mod matching;
mod pattern;
mod rules;
mod targets;

#[cfg(feature = "cel")]
pub use self::cel::Expression;
pub use self::condition::Condition;
pub use self::field::EventField;
pub use self::matching::{And, Filtered, Matched, Matching, OrElse, RouterExt};
pub use self::pattern::Pattern;
pub use self::rules::Rules;
pub use self::targets::Targets;

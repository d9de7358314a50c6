#![doc = include_str!("../README.md")]

mod consumer;
pub mod dead_letters;
mod driver;
mod engine;
mod machine;
mod metrics;
mod options;

pub use self::consumer::open;
pub use self::options::QueueOptions;

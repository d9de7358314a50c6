//! One deterministic simulation over the real machines together, judged by its history.

mod fates;
mod handler;
mod processes;
mod scenario;
mod sending;
mod shop;
mod world;

pub use self::world::{Run, run};

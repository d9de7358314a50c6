//! Runtimes for Aqueduct: [`tokio()`] for programs, [`Simulation`] for tests that must repeat from
//! a seed, and [`ManualClock`] for tests that move time by hand.

mod clock;
mod manual_clock;
mod random;
mod simulation;
mod timers;
mod tokio_platform;

pub use self::manual_clock::ManualClock;
pub use self::simulation::{Process, Simulation, Stalled};
pub use self::tokio_platform::{tokio, try_tokio};

/// The examples of the README compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

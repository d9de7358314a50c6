//! Runtimes for Aqueduct: Tokio, and a deterministic simulation.

mod tokio_platform;

pub use self::tokio_platform::tokio;

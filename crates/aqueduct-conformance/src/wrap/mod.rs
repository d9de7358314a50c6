//! Faults that the suite injects itself, so that they can be tested on every backend.

mod failing_dead_letters;
mod flaky;
mod gate;
mod lease_faults;
mod polls;

pub(crate) use self::failing_dead_letters::FailingDeadLetters;
pub(crate) use self::flaky::Flaky;
pub(crate) use self::gate::Gated;
pub(crate) use self::lease_faults::{FaultyLeases, LeaseFaults};
pub(crate) use self::polls::cancel_after;

//! Faults that the suite injects itself, so that they can be tested on every backend.

mod failing_dead_letters;
mod flaky;
mod gate;
mod line;
mod polls;

pub(crate) use self::failing_dead_letters::FailingDeadLetters;
pub(crate) use self::flaky::Flaky;
pub(crate) use self::gate::Gated;
pub(crate) use self::line::{Line, LinedLeases};
pub(crate) use self::polls::cancel_after;

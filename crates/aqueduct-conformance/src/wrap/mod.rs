//! Faults that the suite injects itself, so that they can be tested on every backend.

mod flaky;
mod gate;
mod line;
mod polls;
mod stubborn;

pub(crate) use self::flaky::Flaky;
pub(crate) use self::gate::Gated;
pub(crate) use self::line::{Line, LinedLeases};
pub(crate) use self::polls::cancel_after;
pub(crate) use self::stubborn::Stubborn;

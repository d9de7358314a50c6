//! Histories of runs of Aqueduct, and the checker that judges them by the rules of the semantics.

mod check;
mod finding;
mod read;
mod record;
mod recorder;

pub use self::check::{Judgement, check};
pub use self::finding::{Finding, Kind};
pub use self::read::{ReadError, read};
pub use self::record::{FORMAT, HistoryLine, Op, Phase, Text};
pub use self::recorder::Recorder;

use std::fmt;

use serde::Serialize;

use crate::Text;

/// A broken rule, and where the history shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The broken rule.
    pub kind: Kind,
    /// The line of the history, counted from 1.
    pub line: usize,
    /// Microseconds on the clock of the history.
    pub time: u64,
    /// The event or partition, and what happened to it.
    pub message: Text,
}

/// The kinds of broken rules, named as in reports about other logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// An acknowledged event was handled by nobody and is no dead letter; or a checkpoint passed it (rule 1).
    Lost,
    /// An event came again although a stored checkpoint covers it, or while its owner still has it or had
    /// settled it (rules 1, 3).
    Duplicated,
    /// An event started, or was stored, before an earlier one of its key (rule 2).
    OutOfOrder,
    /// A checkpoint, or a later event of the key, passed an event whose handler failed (rules 3, 4).
    SkippedPastFailure,
    /// An event was acknowledged without a successful handler (rule 4).
    SettledWithoutEffect,
    /// An effect happened twice although it is in one transaction with its completion (rule 12).
    EffectTwice,
    /// Two processes owned a partition at once, or one generation had two owners (rule 6).
    TwoOwners,
    /// An event became a dead letter without having failed as often as that takes (rule 5).
    DeadLetteredInnocent,
    /// An attempt was counted that no failure explains (rules 5, 13).
    AttemptWithoutFailure,
    /// A call, or the whole run, never came to an end (rules 11, 14).
    NoOutcome,
    /// A flush succeeded before what it covers was stored (rules 1, 15).
    NotDurable,
    /// A checkpoint moved back (rule 3).
    CheckpointFell,
    /// A partition was given to a member that did not ask for it, or kept by one that left (rule 6).
    GivenToNobody,
    /// An event is stored although its sender was told that it is not (rule 11).
    Unexpected,
    /// More writes than the stated cost and the faults explain (rules 3, 6).
    TooManyStoreWrites,
}

impl Kind {
    /// Returns the name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::OutOfOrder => "out_of_order",
            Self::SkippedPastFailure => "skipped_past_failure",
            Self::SettledWithoutEffect => "settled_without_effect",
            Self::EffectTwice => "effect_twice",
            Self::TwoOwners => "two_owners",
            Self::DeadLetteredInnocent => "dead_lettered_innocent",
            Self::AttemptWithoutFailure => "attempt_without_failure",
            Self::NoOutcome => "no_outcome",
            Self::NotDurable => "not_durable",
            Self::CheckpointFell => "checkpoint_fell",
            Self::GivenToNobody => "given_to_nobody",
            Self::Unexpected => "unexpected",
            Self::TooManyStoreWrites => "too_many_store_writes",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time as f64 / 1e6;
        let (kind, line, message) = (self.kind, self.line, &self.message);
        write!(f, "{kind}, line {line}, {seconds:.3} s: {message}")
    }
}

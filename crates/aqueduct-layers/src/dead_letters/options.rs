use std::time::Duration;

use aqueduct_core::{Backoff, Error, Result};

/// Options of [`DeadLetters`](super::DeadLetters): when an event becomes a dead letter, and what happens to its key.
#[derive(Clone, Debug)]
pub struct DeadLetterOptions {
    /// The attempts at an event before it is given up. Default: 5.
    pub attempts: u32,
    /// The action after the last attempt. Default: [`OnExhausted::DeadLetter`], so that one bad event does not stop
    /// its key.
    pub on_exhausted: OnExhausted,
    /// The wait before a failed write to the dead letter queue is retried. Default: 200 ms doubling
    /// to 30 s, as for redelivery.
    pub put_backoff: Backoff,
    /// The age at which the diverted keys are read again, so that a release is noticed. Default: 10 s,
    /// so that reading costs little and an operator does not wait long.
    pub refresh: Duration,
    /// The limit of failures that are kept per event; the oldest are dropped, and `attempts` still
    /// counts them. Default: 20.
    pub max_failures: usize,
    /// The limit of events whose failures are kept; the oldest are dropped. Default: 10,000.
    pub max_records: usize,
}

/// The action for an event whose last attempt failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It becomes a dead letter; later events of its key go on.
    #[default]
    DeadLetter,
    /// It becomes a dead letter, and the rest of its key is diverted behind it, in order, until the
    /// key is released. Survives this process only with a dead letter store: see
    /// [`DeadLetters::new`](super::DeadLetters::new).
    DivertKey,
    /// It is retried without end; its key waits, other keys flow.
    Block,
}

impl OnExhausted {
    /// Returns the choice of that name: `dead_letter`, `divert_key` or `block`.
    ///
    /// # Errors
    /// `Config`, naming the text and the choices.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "dead_letter" => Ok(Self::DeadLetter),
            "divert_key" => Ok(Self::DivertKey),
            "block" => Ok(Self::Block),
            _ => Err(Error::config(format!(
                "on_exhausted = \"{name}\": expected \"dead_letter\", \"divert_key\" or \"block\""
            ))),
        }
    }
}

impl Default for DeadLetterOptions {
    fn default() -> Self {
        Self {
            attempts: 5,
            on_exhausted: OnExhausted::default(),
            put_backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            refresh: Duration::from_secs(10),
            max_failures: 20,
            max_records: 10_000,
        }
    }
}

impl DeadLetterOptions {
    /// Checks the limits.
    ///
    /// # Errors
    /// `Config`, naming the option and its smallest value.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("attempts", self.attempts as usize),
            ("max_failures", self.max_failures),
            ("max_records", self.max_records),
        ];
        match counts.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::config(format!("{name} = 0: expected at least 1"))),
            None => Ok(()),
        }
    }
}

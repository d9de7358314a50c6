use std::time::Duration;

use aqueduct_core::{Backoff, Error, Result};

/// When an event becomes a dead letter, and what becomes of its key.
#[derive(Clone, Debug)]
pub struct DeadLetterOptions {
    /// How often an event is tried before it is given up. Default: 5.
    pub attempts: u32,
    /// What is done then. Default: [`OnExhausted::DeadLetter`], so that one bad event does not stop
    /// its key.
    pub on_exhausted: OnExhausted,
    /// How long an event waits for another burial after one failed. Default: 200 ms doubling to
    /// 30 s, as for redelivery.
    pub bury_backoff: Backoff,
    /// How old the knowledge of held keys may become before it is read again, so that a release is
    /// noticed. Default: 10 s.
    pub refresh: Duration,
    /// The most failures kept of one event; the oldest go first, and `attempts` still counts them.
    /// Default: 20.
    pub max_failures: usize,
    /// The most events of which failures are kept; the oldest go first. Default: 10,000.
    pub max_records: usize,
}

/// What is done with an event whose last attempt failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It becomes a dead letter; later events of its key go on.
    #[default]
    DeadLetter,
    /// It becomes a dead letter, and the rest of its key follows it, in order, until the key is
    /// released. Outlives this process only where the dead letters can be listed: see
    /// [`DeadLetters::new`](super::DeadLetters::new).
    DivertKey,
    /// It is tried on and on; its key waits, the others flow.
    Block,
}

impl OnExhausted {
    /// The choice of that name: `dead_letter`, `divert_key` or `block`.
    ///
    /// # Errors
    /// `Config`, with the text as written and the choices.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "dead_letter" => Ok(Self::DeadLetter),
            "divert_key" => Ok(Self::DivertKey),
            "block" => Ok(Self::Block),
            _ => Err(Error::config(format!(
                "on_exhausted = \"{name}\": it must be \"dead_letter\", \"divert_key\" or \"block\""
            ))),
        }
    }
}

impl Default for DeadLetterOptions {
    fn default() -> Self {
        Self {
            attempts: 5,
            on_exhausted: OnExhausted::default(),
            bury_backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            refresh: Duration::from_secs(10),
            max_failures: 20,
            max_records: 10_000,
        }
    }
}

impl DeadLetterOptions {
    /// Checks that the numbers can work.
    ///
    /// # Errors
    /// `Config`, naming the option, the value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("attempts", self.attempts as usize),
            ("max_failures", self.max_failures),
            ("max_records", self.max_records),
        ];
        match counts.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::config(format!("{name} = 0: it must be at least 1"))),
            None => Ok(()),
        }
    }
}

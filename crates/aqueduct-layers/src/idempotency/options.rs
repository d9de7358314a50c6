use std::time::Duration;

use aqueduct_core::{Backoff, Error, Result, SmallStr};

/// What counts as handled, and for how long.
#[derive(Clone, Debug)]
pub struct IdempotencyOptions {
    /// The name of the handler set: two workers of one group with different handlers are told
    /// apart by it. Default: `default`.
    pub handlers: SmallStr,
    /// How long a claim may stand still before it counts as dead, on our own clock. Default: 30 s,
    /// as long as a lease lives.
    pub life: Duration,
    /// How often a claim that is worked on is renewed. Default: 10 s, so that a claim survives two
    /// lost renewals.
    pub heartbeat: Duration,
    /// How long the stream keeps events; `None` for ever. Default: `None`.
    pub stream_retention: Option<Duration>,
    /// How long dead letters are kept before they may be redriven; `None` for ever. Default: zero, which
    /// is right where there are no dead letters.
    pub dead_letter_retention: Option<Duration>,
    /// How often an answer of the store is asked for again while it is away, before a settlement
    /// fails. Default: 4, about a second with the default back-off.
    pub retries: u32,
    /// The wait between those. Default: 50 ms doubling to 1 s.
    pub backoff: Backoff,
}

impl Default for IdempotencyOptions {
    fn default() -> Self {
        Self {
            handlers: SmallStr::literal("default"),
            life: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            stream_retention: None,
            dead_letter_retention: Some(Duration::ZERO),
            retries: 4,
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(1)),
        }
    }
}

impl IdempotencyOptions {
    /// Checks that a store which keeps ids for `kept` (`None` for ever) forgets none that may
    /// still come again, and that the timings can work.
    ///
    /// # Errors
    /// `Config`, naming the option, the values and what is allowed.
    pub fn validate(&self, kept: Option<Duration>) -> Result<()> {
        if self.heartbeat.is_zero() || self.life < self.heartbeat * 3 {
            return Err(Error::config(format!(
                "life = {:?}, heartbeat = {:?}: a claim must live for at least three heartbeats, \
                 or a slow renewal lets another run the handler beside this one",
                self.life, self.heartbeat
            )));
        }
        let Some(kept) = kept else { return Ok(()) };
        let needed = match (self.stream_retention, self.dead_letter_retention) {
            (Some(stream), Some(dead_letters)) => Some(stream.saturating_add(dead_letters)),
            _ => None,
        };
        match needed {
            Some(needed) if kept >= needed => Ok(()),
            _ => Err(Error::config(format!(
                "ids of handled events are kept for {kept:?}, but the stream keeps events for {} \
                 and dead letters are kept for {}: an event that comes again after its id is forgotten \
                 would be handled twice. Keep ids for at least {}",
                shown(self.stream_retention),
                shown(self.dead_letter_retention),
                shown(needed),
            ))),
        }
    }
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| String::from("ever"), |time| format!("{time:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn ids_that_are_forgotten_too_early_are_refused() {
        let options = IdempotencyOptions {
            stream_retention: Some(7 * DAY),
            dead_letter_retention: Some(14 * DAY),
            ..IdempotencyOptions::default()
        };
        assert!(options.validate(None).is_ok());
        assert!(options.validate(Some(21 * DAY)).is_ok());
        let refused = options.validate(Some(20 * DAY)).unwrap_err().to_string();
        for part in ["1728000s", "604800s", "1209600s", "1814400s"] {
            assert!(refused.contains(part), "{refused}");
        }
        let for_ever = IdempotencyOptions::default();
        assert!(for_ever.validate(Some(1000 * DAY)).is_err());
    }

    #[test]
    fn a_life_of_under_three_heartbeats_is_refused() {
        let options = IdempotencyOptions {
            life: Duration::from_secs(29),
            ..IdempotencyOptions::default()
        };
        assert!(options.validate(None).is_err());
    }
}

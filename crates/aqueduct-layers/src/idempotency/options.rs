use std::time::Duration;

use aqueduct_core::{Backoff, Error, Result, SmallStr};

/// Options of [`Idempotency`](super::Idempotency).
#[derive(Clone, Debug)]
pub struct IdempotencyOptions {
    /// The name of the handler set: it distinguishes two workers of one group with different
    /// handlers. Default: `default`.
    pub handlers: SmallStr,
    /// The time without a renewal after which a claim counts as dead, on the watcher's clock.
    /// Default: 30 s, the ttl of a lease.
    pub life: Duration,
    /// The interval at which a claim in use is renewed. Default: 10 s, so that a claim survives two
    /// lost renewals.
    pub heartbeat: Duration,
    /// The retention of the stream; `None` for unlimited. Default: `None`.
    pub stream_retention: Option<Duration>,
    /// The time within which dead letters may be redriven; `None` for unlimited. Default: zero, for
    /// a group without dead letters.
    pub dead_letter_retention: Option<Duration>,
    /// Retries of a call while the store is unavailable, before a settlement fails. Default: 4,
    /// about a second with the default back-off.
    pub retries: u32,
    /// The wait between retries. Default: 50 ms doubling to 1 s.
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

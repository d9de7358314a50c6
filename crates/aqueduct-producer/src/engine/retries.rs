use std::time::Duration;

use aqueduct_core::random::SplitMix64;
use aqueduct_core::{Backoff, Instant, Retry};

use super::budget::Budget;

/// Decides when a failed event is sent again: back-off with full jitter, within the budget.
/// (Rule 11)
pub(super) struct Retries {
    budget: Budget,
    backoff: Backoff,
    random: SplitMix64,
}

impl Retries {
    pub(super) fn new(budget: Budget, backoff: Backoff, seed: u64) -> Self {
        Self {
            budget,
            backoff,
            random: SplitMix64::new(seed),
        }
    }

    /// Returns the wait before the next attempt, which is behind the server's hint if there is one.
    pub(super) fn wait(&mut self, attempt: u32, retry: Retry) -> Duration {
        let fraction = self.fraction();
        match retry {
            Retry::After(hint) => hint + self.backoff.ceiling(1).mul_f64(fraction),
            _ => self.backoff.ceiling(attempt).mul_f64(fraction),
        }
    }

    /// Credits the budget with a request that brings new events.
    pub(super) fn deposit(&mut self) {
        self.budget.deposit();
    }

    /// Pays back a request of retries alone that stored an event: the budget is for those in vain.
    pub(super) fn earned(&mut self) {
        self.budget.earned();
    }

    /// Pays for a request of retries alone.
    ///
    /// # Errors
    /// The wait until the budget has enough.
    pub(super) fn pay(&mut self, now: Instant) -> Result<(), Duration> {
        self.budget.take(now)
    }

    /// Draws a fraction from the seed.
    fn fraction(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::RetryBudget;

    #[test]
    fn waits_are_jittered_below_the_ceiling_and_behind_the_hint() {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        let mut retries = Retries::new(Budget::new(RetryBudget::default()), backoff, 7);
        let hint = Duration::from_secs(3);
        let mut drawn = std::collections::BTreeSet::new();
        for attempt in 1..100 {
            let wait = retries.wait(attempt, Retry::Now);
            assert!(wait <= backoff.ceiling(attempt));
            drawn.insert(wait);
            let hinted = retries.wait(attempt, Retry::After(hint));
            assert!(hinted >= hint && hinted <= hint + backoff.ceiling(1));
        }
        assert!(drawn.len() > 90, "waits repeat");
    }
}

use std::time::Duration;

use aqueduct_core::Instant;

use crate::options::RetryBudget;

/// The token bucket that retries are paid from. (Rule 11)
pub(super) struct Budget {
    rules: RetryBudget,
    tokens: f64,
    filled: Instant,
}

impl Budget {
    pub(super) fn new(rules: RetryBudget) -> Self {
        Self {
            rules,
            tokens: rules.reserve,
            filled: Instant::default(),
        }
    }

    /// Notes a request with fresh events.
    pub(super) fn deposit(&mut self) {
        self.tokens = (self.tokens + self.rules.share).min(self.rules.reserve);
    }

    /// Gives back the token of a retry that stored something: it was needed, like a request with fresh events.
    pub(super) fn earned(&mut self) {
        self.tokens = (self.tokens + 1.0 + self.rules.share).min(self.rules.reserve);
    }

    /// Pays for one retry, or returns how long until there are enough tokens.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let grown = now.since(self.filled).as_secs_f64() * self.rules.per_second;
        self.tokens = (self.tokens + grown).min(self.rules.reserve);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.tokens) / self.rules.per_second;
        Err(Duration::from_secs_f64(wait.min(3600.0)) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_spent_then_time_and_fresh_requests_pay() {
        let rules = RetryBudget {
            share: 0.5,
            per_second: 2.0,
            reserve: 2.0,
        };
        let mut budget = Budget::new(rules);
        let start = Instant::default();
        assert!(budget.take(start).is_ok());
        assert!(budget.take(start).is_ok());
        let wait = budget.take(start).unwrap_err();
        assert!(wait > Duration::from_millis(499) && wait < Duration::from_millis(502));
        assert!(budget.take(start + wait).is_ok());
        budget.deposit();
        budget.deposit();
        assert!(budget.take(start + wait).is_ok());
        assert!(budget.take(start + wait).is_err());
    }
}

use std::time::Duration;

/// Random enough to spread waits (xorshift64).
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Returns a duration below `limit`, evenly distributed.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        limit.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_below_its_limit_and_varies() {
        let mut jitter = Jitter::seeded(7);
        let drawn: Vec<_> = (0..100)
            .map(|_| jitter.up_to(Duration::from_micros(600)))
            .collect();
        assert!(
            drawn
                .iter()
                .all(|pause| *pause < Duration::from_micros(600))
        );
        assert!(
            drawn
                .iter()
                .any(|pause| *pause > Duration::from_micros(300))
        );
        assert!(
            drawn
                .iter()
                .any(|pause| *pause < Duration::from_micros(300))
        );
    }
}

//! Pseudo-random numbers that follow from a seed.

use std::time::Duration;

/// The SplitMix64 generator: small and fast, for jitter, nonces and the choices of a simulation.
///
/// Its numbers follow from the seed alone; never derive secrets from them.
#[derive(Clone, Copy, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Creates a generator with the given seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        // The high half of the product is even enough and needs no division.
        ((u128::from(self.next_u64()) * limit as u128) >> 64) as usize
    }

    /// Returns between `low` and `high` percent of `duration`, for jitter.
    pub fn percent_of(&mut self, duration: Duration, low: u32, high: u32) -> Duration {
        let span = high.saturating_sub(low) as usize + 1;
        duration * (low + self.below(span) as u32) / 100
    }

    /// Shuffles `items`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_follow_from_the_seed() {
        // The first numbers of the reference implementation for the seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn below_reaches_every_number_and_stays_below() {
        let mut random = SplitMix64::new(7);
        let reached: BTreeSet<usize> = (0..1_000).map(|_| random.below(10)).collect();
        assert_eq!(reached, (0..10).collect());
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let mut random = SplitMix64::new(7);
        for _ in 0..1_000 {
            let drawn = random.percent_of(Duration::from_secs(1), 50, 100);
            assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&drawn));
        }
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        SplitMix64::new(7).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}

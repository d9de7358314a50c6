use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

/// SplitMix64: small, fast, and good enough for jitter, nonces and the choices of a simulation.
/// Nothing secret is made of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which must not be 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

/// 64 random bits from a generator of this thread. The standard library takes the keys of
/// `RandomState` from the operating system; the process id keeps forks apart.
pub(crate) fn thread_random() -> u64 {
    thread_local! {
        static GENERATOR: Cell<SplitMix64> = Cell::new(SplitMix64::new(
            RandomState::new().hash_one((std::process::id(), std::thread::current().id())),
        ));
    }
    GENERATOR
        .try_with(|cell| {
            let mut generator = cell.get();
            let drawn = generator.next();
            cell.set(generator);
            drawn
        })
        .unwrap_or_else(|_| RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn threads_draw_different_numbers() {
        let draw = || (0..100).map(|_| thread_random()).collect::<Vec<_>>();
        let other = std::thread::spawn(draw).join().unwrap();
        let all: BTreeSet<u64> = draw().into_iter().chain(other).collect();
        assert_eq!(all.len(), 200);
    }

    #[test]
    fn below_stays_below_and_reaches_every_number() {
        let mut generator = SplitMix64::new(7);
        let reached: BTreeSet<usize> = (0..1_000).map(|_| generator.below(10)).collect();
        assert_eq!(reached, (0..10).collect());
    }
}

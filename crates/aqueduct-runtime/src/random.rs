use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use aqueduct_core::random::SplitMix64;

/// Returns 64 random bits from a generator of this thread. The standard library takes the keys of
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
            let drawn = generator.next_u64();
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
}

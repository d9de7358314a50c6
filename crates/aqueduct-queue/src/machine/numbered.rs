use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers that this crate counts up: they need no protection from chosen keys.
pub(super) type Numbered<T> = HashMap<u64, T, BuildHasherDefault<NumberHasher>>;

/// Spreads a number over all bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio, as in Fibonacci hashing; the map takes the highest and the lowest bits.
        let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn consecutive_numbers_have_different_low_and_high_bits() {
        let build = BuildHasherDefault::<NumberHasher>::default();
        let hashes: Vec<u64> = (0..256_u64).map(|number| build.hash_one(number)).collect();
        for part in [|hash: u64| hash & 0xff, |hash: u64| hash >> 57] {
            let mut parts: Vec<u64> = hashes.iter().map(|hash| part(*hash)).collect();
            parts.sort_unstable();
            parts.dedup();
            assert!(parts.len() > 100, "{} different parts", parts.len());
        }
    }
}

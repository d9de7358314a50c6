use std::hash::{BuildHasher, Hasher};

/// Builds fast hashers of a seed that the runtime draws: the same in a repeated simulation, another
/// one in each process.
///
/// Never let behaviour follow from the order of a table that uses it.
#[derive(Clone, Copy, Debug)]
pub struct SeededHash(u64);

impl SeededHash {
    /// Creates a builder of hashers with the given seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl BuildHasher for SeededHash {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0)
    }
}

/// The hasher of [`SeededHash`].
#[derive(Clone, Debug)]
pub struct SeededHasher(u64);

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl SeededHasher {
    fn fold(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word) * u128::from(FACTOR);
        self.0 = (wide as u64) ^ ((wide >> 64) as u64) ^ word.rotate_left(29);
    }
}

impl Hasher for SeededHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        self.fold(u64::from_le_bytes(word) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(FACTOR);
        mixed ^ (mixed >> 29)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_that_look_alike_spread() {
        let seeded = SeededHash::new(7);
        let low: BTreeSet<u64> = (0..10_000)
            .map(|n| seeded.hash_one(format!("customer-{n}")) & 0xffff)
            .collect();
        let high: BTreeSet<u64> = (0..10_000)
            .map(|n| seeded.hash_one(format!("customer-{n}")) >> 48)
            .collect();
        assert!(low.len() > 9_000, "{}", low.len());
        assert!(high.len() > 9_000, "{}", high.len());
        assert_ne!(SeededHash::new(8).hash_one("a"), seeded.hash_one("a"));
    }
}

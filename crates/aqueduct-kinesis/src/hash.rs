//! Maps partition keys to the hash ranges of the shards.

use std::hash::BuildHasher as _;

use aqueduct_core::SmallStr;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use md5::{Digest as _, Md5};

/// Returns the hash key of a partition key, as the service computes it.
pub(crate) fn hash_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// Caches hash keys: most producers send few keys many times, and a lookup costs a fraction of MD5.
#[derive(Default)]
pub(crate) struct KnownHashes {
    found: HashTable<(SmallStr, u128)>,
    hasher: RandomState,
}

/// The largest number of cached keys; the cache is emptied when it is full.
const KNOWN: usize = 4096;

impl KnownHashes {
    /// Returns [`hash_of`] the partition key.
    #[inline]
    pub(crate) fn hash_of(&mut self, partition_key: &str) -> u128 {
        let short = self.hasher.hash_one(partition_key);
        let is_it = |known: &(SmallStr, u128)| known.0.as_str() == partition_key;
        match self.found.find(short, is_it) {
            Some((_, hash)) => *hash,
            None => self.learn(short, partition_key),
        }
    }

    fn learn(&mut self, short: u64, partition_key: &str) -> u128 {
        let hash = hash_of(partition_key);
        let Self { found, hasher } = self;
        if found.len() >= KNOWN {
            found.clear();
        }
        found.insert_unique(short, (partition_key.into(), hash), |(known, _)| {
            hasher.hash_one(known.as_str())
        });
        hash
    }
}

/// Parses an explicit hash key: an unsigned decimal number of 128 bits.
pub(crate) fn parse_hash(text: &str) -> Option<u128> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, KnownHashes, hash_of, parse_hash};

    #[test]
    fn a_key_hashes_as_the_service_does() {
        assert_eq!(hash_of(""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
        assert_eq!(hash_of("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn what_is_remembered_is_right_and_bounded() {
        let mut known = KnownHashes::default();
        let long = "k".repeat(100);
        for number in 0..3 * KNOWN {
            for key in [
                format!("key-{number}"),
                format!("key-{}", number % 7),
                long.clone(),
            ] {
                assert_eq!(known.hash_of(&key), hash_of(&key));
            }
            assert!(known.found.len() <= KNOWN);
        }
    }

    #[test]
    fn an_explicit_hash_key_is_a_decimal_number_of_128_bits() {
        let top = "340282366920938463463374607431768211455";
        assert_eq!(parse_hash("0"), Some(0));
        assert_eq!(parse_hash("007"), Some(7));
        assert_eq!(parse_hash(top), Some(u128::MAX));
        for wrong in [
            "",
            "-1",
            "+1",
            "1e3",
            " 1",
            "340282366920938463463374607431768211456",
        ] {
            assert_eq!(parse_hash(wrong), None, "{wrong}");
        }
    }
}

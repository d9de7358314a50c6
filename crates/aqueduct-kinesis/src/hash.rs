//! Where a partition key lies among the hash ranges of the shards.

use md5::{Digest as _, Md5};

/// The place of a partition key, as the service computes it.
pub(crate) fn hash_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// An explicit hash key: a decimal number of 128 bits, without sign.
pub(crate) fn parse_hash(text: &str) -> Option<u128> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{hash_of, parse_hash};

    #[test]
    fn a_key_hashes_as_the_service_does() {
        assert_eq!(hash_of(""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
        assert_eq!(hash_of("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
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

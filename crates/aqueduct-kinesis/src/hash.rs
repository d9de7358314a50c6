use md5::{Digest as _, Md5};

/// The hash that Kinesis places a record by: the MD5 of its partition key, big-endian.
pub(crate) fn hash_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

/// A hash key in decimal digits.
pub(crate) fn parse_hash(text: &str) -> Option<u128> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

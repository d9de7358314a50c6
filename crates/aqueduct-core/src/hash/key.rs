/// Returns the 128-bit hash of a key, for backends that place keys themselves: wyhash (final version
/// 4.2, seed 0, its default secret) in the high half, and in the low half the same times 2^64
/// divided by the golden ratio.
///
/// It never changes, so a key stays in its partition between versions. It spreads keys evenly and
/// takes about thirty instructions for a short key. It hides nothing about the key.
pub fn hash_key(key: &str) -> u128 {
    let hash = wyhash(key.as_bytes(), 0);
    (u128::from(hash) << 64) | u128::from(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

const SECRET: [u64; 4] = [
    0x2d35_8dcc_aa6c_78a5,
    0x8bb8_4b93_962e_acc9,
    0x4b33_a62e_d433_d4a3,
    0x4d5a_2da5_1de1_aa47,
];

fn wyhash(bytes: &[u8], seed: u64) -> u64 {
    let length = bytes.len();
    let mut seed = seed ^ mix(seed ^ SECRET[0], SECRET[1]);
    let (a, b) = match length {
        0 => (0, 0),
        1..=3 => {
            let (first, middle) = (u64::from(bytes[0]), u64::from(bytes[length / 2]));
            let last = u64::from(bytes[length - 1]);
            ((first << 16) | (middle << 8) | last, 0)
        }
        4..=16 => {
            let step = (length >> 3) << 2;
            let pair = |at, next| (read4(bytes, at) << 32) | read4(bytes, next);
            (pair(0, step), pair(length - 4, length - 4 - step))
        }
        _ => {
            let mut rest = bytes;
            if rest.len() >= 48 {
                let (mut second, mut third) = (seed, seed);
                while rest.len() >= 48 {
                    seed = mix(read8(rest, 0) ^ SECRET[1], read8(rest, 8) ^ seed);
                    second = mix(read8(rest, 16) ^ SECRET[2], read8(rest, 24) ^ second);
                    third = mix(read8(rest, 32) ^ SECRET[3], read8(rest, 40) ^ third);
                    rest = &rest[48..];
                }
                seed ^= second ^ third;
            }
            while rest.len() > 16 {
                seed = mix(read8(rest, 0) ^ SECRET[1], read8(rest, 8) ^ seed);
                rest = &rest[16..];
            }
            (read8(bytes, length - 16), read8(bytes, length - 8))
        }
    };
    let (a, b) = multiply(a ^ SECRET[1], b ^ seed);
    mix(a ^ SECRET[0] ^ length as u64, b ^ SECRET[1])
}

/// The low and the high half of the product.
fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    (product as u64, (product >> 64) as u64)
}

fn mix(a: u64, b: u64) -> u64 {
    let (low, high) = multiply(a, b);
    low ^ high
}

fn read4(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..].first_chunk();
    word.map_or(0, |word| u64::from(u32::from_le_bytes(*word)))
}

fn read8(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..].first_chunk();
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_wyhash() {
        let digits = "1234567890".repeat(8);
        for (text, seed, hash) in [
            ("", 0, 0x9322_8a4d_e0ee_c5a2),
            ("a", 1, 0xc5ba_c3db_1787_13c4),
            ("abc", 2, 0xa97f_2f7b_1d9b_3314),
            ("message digest", 3, 0x786d_1f1d_f380_1df4),
            ("abcdefghijklmnopqrstuvwxyz", 4, 0xdca5_a813_8ad3_7c87),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                5,
                0xb9e7_34f1_17cf_af70,
            ),
            (&digits, 6, 0x6cc5_eab4_9a92_d617),
        ] {
            assert_eq!(wyhash(text.as_bytes(), seed), hash, "{text}");
        }
        assert_eq!((hash_key("") >> 64) as u64, 0x9322_8a4d_e0ee_c5a2);
    }

    #[test]
    fn keys_spread_evenly() {
        let mut counts = [0; 8];
        for key in 0..8_000 {
            counts[(hash_key(&format!("customer-{key}")) >> 125) as usize] += 1;
        }
        assert!(
            counts.iter().all(|n| (850..1_150).contains(n)),
            "{counts:?}"
        );
    }
}

/// The 128-bit hash of a key, which decides its partition: MurmurHash3 (x64, 128 bits, seed 0),
/// its first word the high half.
///
/// It never changes, so that a key stays in its partition between versions. It is spread evenly and
/// costs some fifty instructions for a short key; it keeps nothing secret.
pub fn hash_key(key: &str) -> u128 {
    let bytes = key.as_bytes();
    let (blocks, tail) = bytes.as_chunks::<16>();
    let (mut h1, mut h2) = (0u64, 0u64);
    for block in blocks {
        let block = u128::from_le_bytes(*block);
        h1 ^= mix_first(block as u64);
        h1 = h1.rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix_second((block >> 64) as u64);
        h2 = h2.rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    if !tail.is_empty() {
        let mut block = [0; 16];
        block[..tail.len()].copy_from_slice(tail);
        let block = u128::from_le_bytes(block);
        h2 ^= mix_second((block >> 64) as u64);
        h1 ^= mix_first(block as u64);
    }
    let length = bytes.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (u128::from(h1) << 64) | u128::from(h2)
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn mix_first(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_second(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_murmur_hash_3() {
        assert_eq!(hash_key(""), 0);
        assert_eq!(
            hash_key("The quick brown fox jumps over the lazy dog"),
            0xe34b_bc7b_bc07_1b6c_7a43_3ca9_c49a_9347
        );
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

//! The partition of a key, as Microsoft's buffered producers choose it: the hash lookup3 of the key,
//! folded to 16 bits, modulo the number of partitions.

/// Returns the index of the partition for `key`. With no partitions it is zero.
pub(crate) fn partition_of(key: &str, partitions: usize) -> usize {
    let [first, second] = lookup3(key.as_bytes());
    let folded = (first ^ second) as u16 as i16;
    usize::from(folded.unsigned_abs()) % partitions.max(1)
}

/// Returns both words of the hash lookup3 (Bob Jenkins, 2006) with zero as the seeds.
fn lookup3(bytes: &[u8]) -> [u32; 2] {
    let seed = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (seed, seed, seed);
    let mut left = bytes;
    while left.len() > 12 {
        let (block, rest) = left.split_at(12);
        [a, b, c] = mix(add([a, b, c], block));
        left = rest;
    }
    if left.is_empty() {
        return [c, b];
    }
    [a, b, c] = add([a, b, c], left);
    for (x, y, z) in [(14, 11, 25), (16, 4, 14)] {
        c = (c ^ b).wrapping_sub(b.rotate_left(x));
        a = (a ^ c).wrapping_sub(c.rotate_left(y));
        b = (b ^ a).wrapping_sub(a.rotate_left(z));
    }
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    [c, b]
}

/// Adds up to twelve bytes, as little-endian words padded with zeros.
fn add(state: [u32; 3], bytes: &[u8]) -> [u32; 3] {
    let mut words = [0u32; 3];
    for (at, byte) in bytes.iter().enumerate() {
        words[at / 4] |= u32::from(*byte) << (8 * (at % 4));
    }
    [0, 1, 2].map(|at| state[at].wrapping_add(words[at]))
}

fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    for (x, y, z) in [(4, 6, 8), (16, 19, 4)] {
        a = a.wrapping_sub(c) ^ c.rotate_left(x);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(y);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(z);
        b = b.wrapping_add(a);
    }
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_lookup3() {
        // The vectors of the author's `driver5`.
        assert_eq!(lookup3(b""), [0xdead_beef, 0xdead_beef]);
        let text = b"Four score and seven years ago";
        assert_eq!(lookup3(text)[0], 0x1777_0551);
    }

    #[test]
    fn keys_spread_over_all_partitions() {
        let mut counts = [0; 7];
        for key in 0..7_000 {
            counts[partition_of(&format!("customer-{key}"), 7)] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
        assert_eq!(partition_of("any", 1), 0);
        assert_eq!(partition_of("any", 0), 0);
    }
}

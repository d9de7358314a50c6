//! The hash of partition keys: lookup3 by Bob Jenkins, as Microsoft's clients compute it.

/// Returns the partition of `key` among `partitions`.
pub(super) fn partition_of(key: &str, partitions: usize) -> usize {
    let (first, second) = lookup3(key.as_bytes());
    let short = (first ^ second) as u16 as i16;
    usize::from(short.unsigned_abs()) % partitions.max(1)
}

fn lookup3(bytes: &[u8]) -> (u32, u32) {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = bytes;
    while rest.len() > 12 {
        let (block, tail) = rest.split_at(12);
        add(&mut a, &mut b, &mut c, block);
        mix(&mut a, &mut b, &mut c);
        rest = tail;
    }
    if rest.is_empty() {
        return (c, b);
    }
    add(&mut a, &mut b, &mut c, rest);
    finish(&mut a, &mut b, &mut c);
    (c, b)
}

/// Adds up to 12 bytes, little-endian, as if padded with zeroes.
fn add(a: &mut u32, b: &mut u32, c: &mut u32, bytes: &[u8]) {
    let mut padded = [0; 12];
    padded[..bytes.len()].copy_from_slice(bytes);
    for (word, at) in [a, b, c].into_iter().zip([0, 4, 8]) {
        let bytes = [padded[at], padded[at + 1], padded[at + 2], padded[at + 3]];
        *word = word.wrapping_add(u32::from_le_bytes(bytes));
    }
}

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    for rotations in [[4, 6, 8], [16, 19, 4]] {
        *a = a.wrapping_sub(*c) ^ c.rotate_left(rotations[0]);
        *c = c.wrapping_add(*b);
        *b = b.wrapping_sub(*a) ^ a.rotate_left(rotations[1]);
        *a = a.wrapping_add(*c);
        *c = c.wrapping_sub(*b) ^ b.rotate_left(rotations[2]);
        *b = b.wrapping_add(*a);
    }
}

fn finish(a: &mut u32, b: &mut u32, c: &mut u32) {
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(14));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(11));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(25));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(16));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(4));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(14));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(24));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The partitions were computed with `generate_hash_code` of `azure-eventhub` 5.15.
    #[test]
    fn keys_go_where_microsofts_clients_put_them() {
        let cases = [
            ("a", [0, 2, 0, 28]),
            ("order-1", [1, 2, 3, 7]),
            ("customer-4711", [0, 1, 0, 28]),
            ("abcdefghijkl", [1, 0, 1, 5]),
            ("abcdefghijklm", [1, 1, 3, 15]),
            ("a longer partition key of 40 characters.", [0, 2, 2, 14]),
        ];
        for (key, expected) in cases {
            let found = [2, 3, 4, 32].map(|partitions| partition_of(key, partitions));
            assert_eq!(found, expected, "{key}");
        }
    }
}

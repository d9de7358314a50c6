//! Computes MD5 of several messages side by side.
//!
//! Each step of MD5 depends on the one before, so one message leaves most of a processor idle, and
//! four together take little longer than one. The checksum is most of the cost of aggregation.

/// Returns the MD5 of each message.
pub(super) fn md5_of_each(messages: &[&[u8]]) -> Vec<[u8; 16]> {
    let mut lanes: Vec<Lane<'_>> = messages.iter().map(|message| Lane::new(message)).collect();
    let mut running: Vec<&mut Lane<'_>> = lanes.iter_mut().collect();
    loop {
        running.retain(|lane| !lane.blocks.is_empty());
        if let Some(four) = running.first_chunk_mut::<4>() {
            advance(four);
        } else if let Some(two) = running.first_chunk_mut::<2>() {
            advance(two);
        } else if let Some(one) = running.first_chunk_mut::<1>() {
            advance(one);
        } else {
            break;
        }
    }
    lanes.into_iter().map(Lane::finish).collect()
}

const BLOCK: usize = 64;

/// A message and its progress.
struct Lane<'a> {
    state: [u32; 4],
    blocks: &'a [[u8; BLOCK]],
    /// The rest that does not fill a block.
    rest: &'a [u8],
    length: usize,
}

impl<'a> Lane<'a> {
    fn new(message: &'a [u8]) -> Self {
        let (blocks, rest) = message.as_chunks();
        Self {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476],
            blocks,
            rest,
            length: message.len(),
        }
    }

    /// Returns the padding blocks: a bit, zeros, and the length in bits.
    fn finish(self) -> [u8; 16] {
        let mut end = [0; 2 * BLOCK];
        let used = self.rest.len();
        end[..used].copy_from_slice(self.rest);
        end[used] = 0x80;
        let size = if used < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
        end[size - 8..size].copy_from_slice(&(self.length as u64 * 8).to_le_bytes());
        let mut state = self.state.map(|word| [word]);
        for block in end[..size].as_chunks().0 {
            compress(&mut state, [block]);
        }
        let mut digest = [0; 16];
        for (bytes, [word]) in digest.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }
}

/// Advances the lanes by the length of the shortest one.
fn advance<const N: usize>(lanes: &mut [&mut Lane<'_>; N]) {
    let common = lanes.iter().map(|lane| lane.blocks.len()).min();
    let common = common.unwrap_or_default();
    let mut state: State<N> =
        std::array::from_fn(|word| std::array::from_fn(|lane| lanes[lane].state[word]));
    let blocks: [&[[u8; BLOCK]]; N] = std::array::from_fn(|lane| &lanes[lane].blocks[..common]);
    for at in 0..common {
        compress(&mut state, blocks.map(|lane| &lane[at]));
    }
    for (at, lane) in lanes.iter_mut().enumerate() {
        lane.state = state.map(|words| words[at]);
        lane.blocks = &lane.blocks[common..];
    }
}

/// The words of the state, per lane.
type State<const N: usize> = [[u32; N]; 4];

/// Processes one block of each lane (RFC 1321).
#[inline(always)]
fn compress<const N: usize>(state: &mut State<N>, blocks: [&[u8; BLOCK]; N]) {
    let words: [[u32; N]; 16] = std::array::from_fn(|word| {
        std::array::from_fn(|lane| {
            let (words, _) = blocks[lane].as_chunks();
            u32::from_le_bytes(words[word])
        })
    });
    let [mut a, mut b, mut c, mut d] = *state;
    macro_rules! step {
        ($mix:ident, $a:ident, $b:ident, $c:ident, $d:ident, $at:expr, $word:expr) => {
            for lane in 0..N {
                $a[lane] = words[$word % 16][lane]
                    .wrapping_add(SINES[$at])
                    .wrapping_add($a[lane])
                    .wrapping_add($mix($b[lane], $c[lane], $d[lane]))
                    .rotate_left(SHIFTS[$at / 16][$at % 4])
                    .wrapping_add($b[lane]);
            }
        };
    }
    macro_rules! round {
        ($mix:ident, $word:ident, $($at:literal)*) => { $(
            step!($mix, a, b, c, d, $at, $word($at));
            step!($mix, d, a, b, c, $at + 1, $word($at + 1));
            step!($mix, c, d, a, b, $at + 2, $word($at + 2));
            step!($mix, b, c, d, a, $at + 3, $word($at + 3));
        )* };
    }
    let choose = |b: u32, c: u32, d: u32| d ^ (b & (c ^ d));
    // The halves share no bit, and a sum depends less on `b` than an `or`.
    let choose_last = |b: u32, c: u32, d: u32| (b & d).wrapping_add(c & !d);
    let differ = |b: u32, c: u32, d: u32| b ^ c ^ d;
    let last = |b: u32, c: u32, d: u32| c ^ (b | !d);
    let in_order = |at: usize| at;
    let by_five = |at: usize| 5 * at + 1;
    let by_three = |at: usize| 3 * at + 5;
    let by_seven = |at: usize| 7 * at;
    round!(choose, in_order, 0 4 8 12);
    round!(choose_last, by_five, 16 20 24 28);
    round!(differ, by_three, 32 36 40 44);
    round!(last, by_seven, 48 52 56 60);
    for (old, new) in state.iter_mut().zip([a, b, c, d]) {
        for lane in 0..N {
            old[lane] = old[lane].wrapping_add(new[lane]);
        }
    }
}

const SHIFTS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// The first 32 bits of the sine of each step (RFC 1321).
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_message_has_its_md5(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..11),
        ) {
            let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let expected: Vec<[u8; 16]> =
                slices.iter().map(|message| Md5::digest(message).into()).collect();
            prop_assert_eq!(md5_of_each(&slices), expected);
        }
    }

    #[test]
    fn the_padding_fits_at_every_length() {
        let text = [b'x'; 200];
        for length in 0..text.len() {
            let expected: [u8; 16] = Md5::digest(&text[..length]).into();
            assert_eq!(md5_of_each(&[&text[..length]]), [expected], "{length}");
        }
    }
}

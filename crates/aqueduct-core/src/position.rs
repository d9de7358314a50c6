use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// The digits of 2^192 - 1.
const DIGITS: usize = 58;

/// The digits read at once: as many as fit a word.
const WORD_DIGITS: usize = 19;
const WORD: u64 = 10u64.pow(WORD_DIGITS as u32);

/// The digits written at once: an even number that fits a word.
const CHUNK_DIGITS: usize = 16;
const CHUNK: u64 = 10u64.pow(CHUNK_DIGITS as u32);

/// A position in a partition: inline, ordered, the same for every backend.
///
/// Wide enough for a Kinesis sequence number (56 digits need 187 bits; there are 192), with a
/// sub-sequence for events that share one record. Text is `DIGITS` or `DIGITS.SUB`.
///
/// ```
/// use aqueduct_core::Position;
///
/// let first: Position = "49590338271490256608559692538361571095921575989136588898".parse()?;
/// let second = first.with_sub(1);
/// assert!(Position::new(7) < first && first < second);
/// assert_eq!(Position::from_bytes(second.to_bytes()), second);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    high: u64,
    middle: u64,
    low: u64,
    sub: u64,
}

impl Position {
    /// The lowest position.
    pub const MIN: Self = Self {
        high: 0,
        middle: 0,
        low: 0,
        sub: 0,
    };

    /// Creates the position with a sequence number.
    pub const fn new(sequence: u64) -> Self {
        Self {
            high: 0,
            middle: 0,
            low: sequence,
            sub: 0,
        }
    }

    /// Returns the position with another sub-sequence.
    #[must_use]
    pub const fn with_sub(self, sub: u64) -> Self {
        Self { sub, ..self }
    }

    /// Returns the sub-sequence; 0 if the backend has none.
    pub const fn sub(self) -> u64 {
        self.sub
    }

    /// Returns the sequence as a number, if it fits.
    pub const fn sequence(self) -> Option<u64> {
        if self.high == 0 && self.middle == 0 {
            Some(self.low)
        } else {
            None
        }
    }

    /// Returns the sequence in decimal digits, without the sub-sequence.
    pub fn sequence_text(self) -> String {
        self.digits(&mut [0; DIGITS]).to_owned()
    }

    /// Parses a sequence in decimal digits.
    pub fn from_sequence_text(text: &str) -> Result<Self, Error> {
        let [high, middle, low] = limbs(text.as_bytes()).ok_or_else(|| no_position(text))?;
        Ok(Self {
            high,
            middle,
            low,
            sub: 0,
        })
    }

    /// Writes the digits of the sequence into `room`. Some services send a sequence with each record,
    /// so this and its reverse process as many digits at once as fit a word.
    fn digits(self, room: &mut [u8; DIGITS]) -> &str {
        let mut limbs = [self.high, self.middle, self.low];
        let mut from = DIGITS;
        while limbs[..2] != [0; 2] {
            let mut rest = 0u64;
            for limb in &mut limbs {
                let whole = u128::from(rest) << 64 | u128::from(*limb);
                *limb = (whole / u128::from(CHUNK)) as u64;
                // The low words suffice; a second division would double the cost.
                rest = (whole as u64).wrapping_sub(limb.wrapping_mul(CHUNK));
            }
            from -= CHUNK_DIGITS;
            for pair in room[from..from + CHUNK_DIGITS].rchunks_exact_mut(2) {
                let two = (rest % 100) as u8;
                pair.copy_from_slice(&[b'0' + two / 10, b'0' + two % 10]);
                rest /= 100;
            }
        }
        let mut rest = limbs[2];
        loop {
            from -= 1;
            room[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        std::str::from_utf8(&room[from..]).unwrap_or_default()
    }

    /// Returns the position as 32 big-endian bytes, which sort like positions.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in
            bytes
                .chunks_exact_mut(8)
                .zip([self.high, self.middle, self.low, self.sub])
        {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        bytes
    }

    /// Creates a position from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let limb = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(word)
        };
        Self {
            high: limb(0),
            middle: limb(8),
            low: limb(16),
            sub: limb(24),
        }
    }
}

#[cold]
fn no_position(text: &str) -> Error {
    let message = format!("invalid position `{text}` (expected a decimal number below 2^192)");
    Error::new(ErrorKind::Invalid, message)
}

/// Parses a decimal number below 2^192 into words.
#[inline]
fn limbs(text: &[u8]) -> Option<[u64; 3]> {
    let (head, chunks) = text.as_rchunks::<WORD_DIGITS>();
    let mut wrong = 0;
    let mut limbs = [0, 0, short_number(head, &mut wrong)];
    for chunk in chunks {
        let mut carry = u128::from(short_number(chunk, &mut wrong));
        for limb in limbs.iter_mut().rev() {
            let whole = u128::from(*limb) * u128::from(WORD) + carry;
            *limb = whole as u64;
            carry = whole >> 64;
        }
        if carry != 0 {
            return None;
        }
    }
    (wrong & HIGH_BITS == 0 && !text.is_empty()).then_some(limbs)
}

/// Parses at most as many digits as fit a word; sets bits in `wrong` like [`eight_digits`].
#[inline]
fn short_number(text: &[u8], wrong: &mut u64) -> u64 {
    let (head, eights) = text.as_rchunks::<8>();
    let mut number = 0;
    for byte in head {
        let digit = u64::from(byte ^ b'0');
        *wrong |= digit | (digit + 0x76);
        number = number * 10 + digit;
    }
    for eight in eights {
        // Invalid digits may overflow; `wrong` is set already.
        let shifted = number.wrapping_mul(100_000_000);
        number = shifted.wrapping_add(eight_digits(*eight, wrong));
    }
    number
}

/// The highest bit of each byte.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Parses eight digits by adding neighbours: digits to pairs, pairs to fours, fours to one number.
/// Sets a high bit in `wrong` for each byte that is not a digit.
#[inline]
fn eight_digits(text: [u8; 8], wrong: &mut u64) -> u64 {
    let digits = u64::from_le_bytes(text) ^ 0x3030_3030_3030_3030;
    // A byte from 10 on reaches its highest bit; one that already has it carries over.
    *wrong |= digits | digits.wrapping_add(0x7676_7676_7676_7676);
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

impl From<u64> for Position {
    fn from(sequence: u64) -> Self {
        Self::new(sequence)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('.') {
            None => Self::from_sequence_text(text),
            Some((sequence, sub)) => {
                let sub = sub.parse().map_err(|_| {
                    Error::new(
                        ErrorKind::Invalid,
                        format!("invalid position `{text}`: `{sub}`"),
                    )
                })?;
                Ok(Self::from_sequence_text(sequence)?.with_sub(sub))
            }
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits(&mut [0; DIGITS]))?;
        if self.sub > 0 {
            write!(f, ".{}", self.sub)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_kinesis_sequence_fits() {
        let text = "9".repeat(56);
        let position: Position = text.parse().unwrap();
        assert_eq!(position.to_string(), text);
        assert_eq!(position.with_sub(7).to_string(), format!("{text}.7"));
        assert!("9".repeat(58).parse::<Position>().is_err());
        assert!("".parse::<Position>().is_err());
        assert!("1.x".parse::<Position>().is_err());
    }

    #[test]
    fn texts_are_read_up_to_two_to_the_192nd() {
        let top = "6277101735386680763835789423207666416102355444464034512895";
        let past = "6277101735386680763835789423207666416102355444464034512896";
        let position = Position::from_sequence_text(top).unwrap();
        assert_eq!(position.to_bytes()[..24], [0xff; 24]);
        assert_eq!(position.sequence_text(), top);
        assert!(Position::from_sequence_text(past).is_err());
        assert!(Position::from_sequence_text(&format!("{top}0")).is_err());
        let padded = format!("{}{top}", "0".repeat(40));
        assert_eq!(Position::from_sequence_text(&padded).unwrap(), position);
        for power in 0..58 {
            let round = format!("1{}", "0".repeat(power));
            let below = "9".repeat(power.max(1));
            for text in [round, below] {
                let position = Position::from_sequence_text(&text).unwrap();
                assert_eq!(position.sequence_text(), text);
            }
        }
        assert_eq!(Position::MIN.to_string(), "0");
        for wrong in ["1:", "/", "12345678901234567890 ", "+1", "-1"] {
            assert!(Position::from_sequence_text(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_other_text_is_refused(text in ".{0,60}", at in 0..60usize) {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
            if !digits(&text) {
                prop_assert!(Position::from_sequence_text(&text).is_err());
            }
            let mut number = "7".repeat(57);
            number.insert_str(at.min(57), &text);
            if !digits(&number) {
                prop_assert!(Position::from_sequence_text(&number).is_err());
            }
        }

        #[test]
        fn text_and_bytes_keep_value_and_order(a: [u64; 4], b: [u64; 4]) {
            let [a, b] = [a, b].map(|[high, middle, low, sub]| Position { high, middle, low, sub });
            prop_assert_eq!(a.to_string().parse::<Position>().unwrap(), a);
            prop_assert_eq!(Position::from_bytes(a.to_bytes()), a);
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }
    }
}

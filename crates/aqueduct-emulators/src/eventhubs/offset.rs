use std::collections::VecDeque;

use super::partition::StoredEvent;

/// How positions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offsets {
    /// Bytes from the start of the partition, as in a hub without geo-replication.
    Numeric,
    /// Text that neither counts nor sorts, as in a geo-replicated hub.
    Opaque,
}

/// Scrambles sequence numbers: odd, so that it has an inverse modulo 2^64.
const SCRAMBLE: u64 = 0x9e37_79b9_7f4a_7c15;
/// The inverse of `SCRAMBLE` modulo 2^64.
const UNSCRAMBLE: u64 = 0xf1de_83e1_9937_733d;

impl Offsets {
    pub(super) fn render(self, sequence_number: i64, bytes: u64) -> String {
        match self {
            Self::Numeric => bytes.to_string(),
            Self::Opaque => {
                let scrambled = (sequence_number as u64).wrapping_mul(SCRAMBLE);
                format!("geo:{scrambled:016x}")
            }
        }
    }

    /// Returns the sequence number of the event with that offset, and true; or of the first one
    /// after it, and false. `None` if the offset cannot be of this partition.
    pub(super) fn find(
        self,
        offset: &str,
        next: i64,
        events: &VecDeque<StoredEvent>,
    ) -> Option<(i64, bool)> {
        match self {
            Self::Opaque => {
                let digits = offset.strip_prefix("geo:")?;
                let scrambled = u64::from_str_radix(digits, 16).ok()?;
                let number = scrambled.wrapping_mul(UNSCRAMBLE) as i64;
                (0..next).contains(&number).then_some((number, true))
            }
            Self::Numeric => {
                let wanted: u64 = offset.parse().ok()?;
                let of = |event: &StoredEvent| event.offset.parse::<u64>().unwrap_or(u64::MAX);
                let at = events.partition_point(|event| of(event) < wanted);
                match events.get(at) {
                    Some(event) => Some((event.sequence_number, of(event) == wanted)),
                    // An offset of an event that has expired was valid once.
                    None if events.is_empty() && next > 0 => Some((next, false)),
                    None => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opaque_offset_leads_back_to_its_event() {
        for number in [0, 1, 2, 77, 1_000_000] {
            let offset = Offsets::Opaque.render(number, 0);
            let found = Offsets::Opaque.find(&offset, number + 1, &VecDeque::new());
            assert_eq!(found, Some((number, true)), "{offset}");
            let later = Offsets::Opaque.find(&offset, number, &VecDeque::new());
            assert_eq!(later, None, "{offset} is not stored yet");
        }
    }
}

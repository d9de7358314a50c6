use aqueduct_core::{DeadLetter, Error, ErrorKind, Result};

use super::stored::ORDER;
use crate::encoding::{Encoded, structured};

/// Returns the message of a dead letter, whole.
///
/// # Errors
/// `TooLarge` if the queue does not take a message of that size, naming both sizes.
pub(super) fn encode(dead_letter: &DeadLetter, largest: usize, order: u64) -> Result<Encoded> {
    let mut encoded = structured(&dead_letter.to_event()?);
    encoded.add(ORDER, &format!("{order:020}"));
    match encoded.size() {
        size if size <= largest => Ok(encoded),
        size => Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the dead letter of event {} is a message of {size} bytes, and this queue takes \
                 {largest}: keep dead letters where larger ones fit, or send smaller events",
                dead_letter.event.id()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::{DeadLetterReason, Event, Timestamp};

    use super::*;

    #[test]
    fn a_dead_letter_is_stored_whole_or_refused() {
        let event = Event::bytes("t", "application/octet-stream", vec![7; 1000]).with_source("/s");
        let (stream, group) = ("orders".into(), "billing".into());
        let reason = DeadLetterReason::Exhausted;
        let dead_letter = DeadLetter::new(event, stream, group, reason, "boom", Timestamp::EPOCH);
        let whole = encode(&dead_letter, 1 << 20, 1).unwrap();
        let body = bytes::Bytes::from(whole.body.clone());
        let read = aqueduct_core::cloudevents::json::decode(&body).unwrap();
        assert_eq!(DeadLetter::from_event(&read).unwrap(), dead_letter);
        let size = whole.size();
        assert!(encode(&dead_letter, size, 1).is_ok());
        let error = encode(&dead_letter, size - 1, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains(&size.to_string()), "{error}");
    }
}

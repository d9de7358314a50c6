use aqueduct_core::{DeadLetter, Error, ErrorKind, Result, SmallStr};

use super::stored::ORDER;
use crate::encoding::{Encoded, structured};

/// The attribute of a buried event whose data was cut: the bytes that it had.
pub(super) const DATA_BYTES: &str = "aqueductdatabytes";

/// The longest texts, and the most failures, of a dead letter that does not fit otherwise.
const LONGEST_TEXT: usize = 1024;
const MOST_FAILURES: usize = 10;

/// The message of a dead letter. Where it is too large, the data of its event is cut, then what its
/// failures say; where it comes from stays.
pub(super) fn encode_to_fit(
    dead_letter: &DeadLetter,
    largest: usize,
    order: u64,
) -> Result<Encoded> {
    let whole = encode(dead_letter, order)?;
    if whole.size() <= largest {
        return Ok(whole);
    }
    let data = dead_letter.event.data().cloned().unwrap_or_default();
    let mut kept = data.len().min(largest) / 2;
    loop {
        let cut = encode(&with_data_of(dead_letter, kept), order)?;
        if cut.size() <= largest {
            return Ok(cut);
        }
        if kept == 0 {
            break;
        }
        kept /= 2;
    }
    let mut short = with_data_of(dead_letter, 0);
    short.message = shortened(&short.message);
    let surplus = short.failures.len().saturating_sub(MOST_FAILURES);
    short.failures.drain(..surplus);
    for failure in &mut short.failures {
        failure.error = shortened(&failure.error);
    }
    let encoded = encode(&short, order)?;
    match encoded.size() <= largest {
        true => Ok(encoded),
        false => Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the dead letter of event {} takes {} bytes without any data, and {largest} are allowed",
                dead_letter.event.id(),
                encoded.size()
            ),
        )),
    }
}

fn encode(dead_letter: &DeadLetter, order: u64) -> Result<Encoded> {
    let mut encoded = structured(&dead_letter.to_event()?);
    encoded.add(ORDER, &format!("{order:020}"));
    Ok(encoded)
}

/// The same dead letter with the first bytes of its event's data, and a word about that.
fn with_data_of(dead_letter: &DeadLetter, kept: usize) -> DeadLetter {
    let mut cut = dead_letter.clone();
    let Some(data) = dead_letter.event.data() else {
        return cut;
    };
    let (all, kept) = (data.len(), kept.min(data.len()));
    let said = match kept {
        0 => format!("its data of {all} bytes is dropped: a dead letter this large does not fit"),
        _ => format!(
            "its data is cut to {kept} of {all} bytes: a dead letter this large does not fit"
        ),
    };
    cut.message = format!("{} [{said}]", dead_letter.message).into();
    cut.event = cut.event.with_data(data.slice(..kept));
    // The name is one that an attribute may have.
    let _ = cut.event.attributes_mut().set(DATA_BYTES, all.to_string());
    cut
}

fn shortened(text: &SmallStr) -> SmallStr {
    match text.char_indices().nth(LONGEST_TEXT) {
        None => text.clone(),
        Some((end, _)) => format!("{}… [cut]", &text[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::{DeadLetterReason, Event, Failure, Timestamp};

    use super::*;

    fn dead_letter(data: Vec<u8>, failures: usize) -> DeadLetter {
        let event = Event::bytes("t", "application/octet-stream", data)
            .with_source("/s")
            .with_key("k");
        let mut dead_letter = DeadLetter::new(
            event,
            "orders".into(),
            "billing".into(),
            DeadLetterReason::Exhausted,
            "boom",
            Timestamp::EPOCH,
        );
        dead_letter.position = Some(7.into());
        dead_letter.failures = (0..failures)
            .map(|attempt| Failure {
                attempt: attempt as u32,
                at: Timestamp::EPOCH,
                error: "é".repeat(5_000).into(),
            })
            .collect();
        dead_letter
    }

    fn read(encoded: &Encoded) -> DeadLetter {
        let body = bytes::Bytes::from(encoded.body.clone());
        let event = aqueduct_core::cloudevents::json::decode(&body).unwrap();
        DeadLetter::from_event(&event).unwrap()
    }

    #[test]
    fn what_fits_is_not_touched() {
        let small = dead_letter(vec![7; 100], 1);
        assert_eq!(read(&encode_to_fit(&small, 1 << 20, 1).unwrap()), small);
    }

    #[test]
    fn data_is_cut_first_and_provenance_stays() {
        let large = dead_letter(vec![7; 900_000], 1);
        let cut = encode_to_fit(&large, 256 << 10, 1).unwrap();
        assert!(cut.size() <= 256 << 10);
        let cut = read(&cut);
        let kept = cut.event.data().unwrap().len();
        assert!(kept > 60_000, "{kept}");
        assert_eq!(
            cut.event.attributes().get(DATA_BYTES).unwrap().as_str(),
            Some("900000")
        );
        assert!(
            cut.message.starts_with("boom [its data is cut to"),
            "{}",
            cut.message
        );
        assert!(cut.message.contains("of 900000 bytes"));
        assert_eq!(
            (cut.position, &cut.failures),
            (large.position, &large.failures)
        );
        assert_eq!(cut.event.key(), Some("k"));
    }

    #[test]
    fn failures_are_cut_last() {
        let talkative = dead_letter(vec![7; 10], 100);
        let cut = read(&encode_to_fit(&talkative, 64 << 10, 1).unwrap());
        assert_eq!(cut.failures.len(), MOST_FAILURES);
        assert_eq!(cut.failures.last().unwrap().attempt, 99);
        assert!(cut.message.contains("its data of 10 bytes is dropped"));
        let error = encode_to_fit(&talkative, 1024, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

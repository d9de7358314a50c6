//! Stores the keys that `divert_key` holds as subscriptions of the dead letter topic, whose filter lets
//! nothing through. The name of such a subscription has group, stream and key. The service creates and
//! deletes each in one step, so that members cannot lose each other's.

use aqueduct_core::{Error, ErrorKind, GroupName, Result, SmallStr, StreamName};

/// The service's limit for the name of a subscription, in bytes.
const LONGEST: usize = 255;

/// Returns the name of the subscription that stands for a held key.
pub(super) fn name_of(
    topic: &str,
    group: &GroupName,
    stream: &StreamName,
    key: &str,
) -> Result<String> {
    let name = format!("{}{}", prefix_of(topic, group, stream), encoded(key));
    match name.len() <= LONGEST {
        true => Ok(name),
        false => Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the key is too long to be held: topic, group, stream and key make a subscription name of \
                 {} bytes, and {LONGEST} are allowed; use a shorter key",
                name.len()
            ),
        )),
    }
}

/// Returns the key that a subscription stands for; `None` if it is another's.
pub(super) fn key_of(
    name: &str,
    topic: &str,
    group: &GroupName,
    stream: &StreamName,
) -> Option<SmallStr> {
    let key = name.strip_prefix(&prefix_of(topic, group, stream))?;
    decoded(key).map(SmallStr::from)
}

fn prefix_of(topic: &str, group: &GroupName, stream: &StreamName) -> String {
    format!(
        "{topic}.held.{}.{}.",
        encoded(group.as_str()),
        encoded(stream.as_str())
    )
}

/// Encodes a text without dots, in the characters of a name: other bytes as `+` and two hexadecimal
/// digits. Servers decode a `%` in the path of a call.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("+{byte:02X}")),
        }
    }
    encoded
}

fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('+');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::invalid_name;

    #[test]
    fn a_name_tells_its_key_to_its_own_group_and_stream() {
        let (group, stream) = (GroupName::new("bill.ing"), StreamName::new("orders"));
        for key in ["VINET", "", "a.b%c+d", "ключ 🚚 \"quoted\""] {
            let name = name_of("late", &group, &stream, key).unwrap();
            assert!(invalid_name(&name).is_none(), "{name}");
            assert_eq!(key_of(&name, "late", &group, &stream).as_deref(), Some(key));
            assert_eq!(key_of(&name, "late", &"other".into(), &stream), None);
            assert_eq!(key_of("late.billing", "late", &group, &stream), None);
        }
        let error = name_of("late", &group, &stream, &"k".repeat(300)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

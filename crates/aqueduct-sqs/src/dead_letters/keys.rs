//! Stores the keys that `divert_key` holds as tags of the queue. The name of a tag is a hash; its
//! value encodes group, stream and key.

use aqueduct_core::{Error, ErrorKind, GroupName, Result, SmallStr, StreamName};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

const PREFIX: &str = "aqueduct-held-";

/// The service's limit for the value of a tag, in bytes.
const LONGEST: usize = 256;

pub(super) fn name_of(group: &GroupName, stream: &StreamName, key: &str) -> String {
    const NAMESPACE: Uuid = Uuid::from_u128(0x61d0_0a5e_4b0f_5f5b_92f7_77a1_63b2_0c11);
    let place = text_of(group, stream, key);
    format!("{PREFIX}{}", Uuid::new_v5(&NAMESPACE, place.as_bytes()))
}

pub(super) fn tag_of(
    group: &GroupName,
    stream: &StreamName,
    key: &str,
) -> Result<(String, String)> {
    let value = URL_SAFE_NO_PAD.encode(text_of(group, stream, key));
    if value.len() > LONGEST {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "the key is too long to be held as a tag of the queue: group, stream and key \
             together may have about 180 bytes; use a shorter key",
        ));
    }
    Ok((name_of(group, stream, key), value))
}

/// Returns the key that a tag holds, or `None` if it belongs to another group or stream.
pub(super) fn key_of(
    name: &str,
    value: &str,
    group: &GroupName,
    stream: &StreamName,
) -> Option<SmallStr> {
    name.strip_prefix(PREFIX)?;
    let place = URL_SAFE_NO_PAD.decode(value).ok()?;
    let (of_group, of_stream, key): (String, String, String) =
        serde_json::from_slice(&place).ok()?;
    (of_group == group.as_str() && of_stream == stream.as_str()).then(|| key.into())
}

fn text_of(group: &GroupName, stream: &StreamName, key: &str) -> String {
    serde_json::json!([group.as_str(), stream.as_str(), key]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_its_key_to_its_own_group_and_stream() {
        let (group, stream) = (GroupName::new("billing"), StreamName::new("orders"));
        for key in ["VINET", "", "ключ 🚚 \"quoted\""] {
            let (name, value) = tag_of(&group, &stream, key).unwrap();
            assert!(name.len() <= 128 && value.len() <= LONGEST);
            assert_eq!(name, name_of(&group, &stream, key));
            assert_eq!(key_of(&name, &value, &group, &stream).as_deref(), Some(key));
            assert_eq!(key_of(&name, &value, &"other".into(), &stream), None);
            assert_eq!(key_of("team", &value, &group, &stream), None);
        }
        assert_eq!(
            key_of("aqueduct-held-1", "no such text", &group, &stream),
            None
        );
        let error = tag_of(&group, &stream, &"k".repeat(300)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

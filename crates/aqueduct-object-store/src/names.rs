//! Names of objects: any text as one segment of a path.
//!
//! Letters, digits and `._-$` stand for themselves, every other byte is `=` and two hexadecimal
//! digits, and empty text is a lone `=`. A segment that would be longer than [`LONGEST`] is `==`
//! and the SHA-256 digest of its text.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The longest segment. Stores allow 1,024 bytes for a whole name.
const LONGEST: usize = 240;

/// Returns `text` as a segment. Different texts have different segments.
pub(crate) fn segment(text: &str) -> String {
    let escaped = escape(text);
    if escaped.len() <= LONGEST {
        return escaped;
    }
    let mut digest = String::from("==");
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

/// Returns the text of a segment; `None` if it is a digest or no segment at all.
pub(crate) fn text(segment: &str) -> Option<String> {
    if segment == "=" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'=' {
            if !stands_for_itself(*first) {
                return None;
            }
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.is_empty() && escape(&text) == segment).then_some(text)
}

fn escape(text: &str) -> String {
    if text.is_empty() {
        return "=".to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        // `.` and `..` mean folders to some stores, and a leading dot hides a file.
        if stands_for_itself(byte) && !(at == 0 && byte == b'.') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "={byte:02x}");
        }
    }
    escaped
}

fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-$".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_event_hubs_stand_for_themselves() {
        for name in ["$default", "orders-eu.servicebus.windows.net", "0", "A_b"] {
            assert_eq!(segment(name), name);
        }
        assert_eq!(segment(""), "=");
        assert_eq!(segment(".."), "=2e.");
        assert_eq!(segment("a/b"), "a=2fb");
        assert_eq!(text("a=2Fb"), None);
        assert_eq!(text("a=zz"), None);
        assert_eq!(text("a=2"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_segment_that_gives_it_back(given in "\\PC{0,60}|[./= ]{0,4}") {
            let name = segment(&given);
            prop_assert!(object_store::path::Path::parse(&name).is_ok());
            prop_assert_eq!(object_store::path::Path::from(name.clone()).to_string(), name.clone());
            if !name.starts_with("==") {
                prop_assert_eq!(text(&name), Some(given));
            }
        }

        #[test]
        fn different_texts_have_different_segments(a in ".{0,300}", b in ".{0,300}") {
            prop_assert_eq!(a == b, segment(&a) == segment(&b));
            prop_assert!(segment(&a).len() <= LONGEST && !segment(&a).contains('/'));
        }
    }
}

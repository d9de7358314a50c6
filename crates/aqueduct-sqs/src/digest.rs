//! The MD5s by which the service and its clients notice that a message was changed on its way.

use std::collections::HashMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue};
use md5::{Digest as _, Md5};

/// The digests of a message.
pub(crate) struct Digests {
    body: String,
    attributes: Option<String>,
}

impl Digests {
    pub(crate) fn of(body: &str, attributes: &HashMap<String, MessageAttributeValue>) -> Self {
        Self {
            body: of_body(body),
            attributes: of_attributes(attributes),
        }
    }

    /// Returns whether they are those that the service computed; one that it left out fits.
    pub(crate) fn fit(&self, body: Option<&str>, attributes: Option<&str>) -> bool {
        let fits = |told: Option<&str>, own: Option<&str>| {
            told.is_none_or(|told| told.is_empty() || own == Some(told))
        };
        fits(body, Some(&self.body)) && fits(attributes, self.attributes.as_deref())
    }

    /// Returns whether a received message is as the service stored it.
    pub(crate) fn are_of(message: &Message) -> bool {
        let none = HashMap::new();
        let attributes = message.message_attributes.as_ref().unwrap_or(&none);
        Self::of(message.body().unwrap_or_default(), attributes)
            .fit(message.md5_of_body(), message.md5_of_message_attributes())
    }
}

/// Returns the MD5 of a body, in hexadecimal digits.
fn of_body(body: &str) -> String {
    hex(&Md5::digest(body.as_bytes()))
}

/// Returns the MD5 of attributes, as the service computes it: over the length and the bytes of each
/// name, data type and value, by name; `None` without attributes.
fn of_attributes(attributes: &HashMap<String, MessageAttributeValue>) -> Option<String> {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(b.0));
    let mut digest = Md5::new();
    for (name, value) in &sorted {
        put(&mut digest, name.as_bytes());
        put(&mut digest, value.data_type().as_bytes());
        match (value.string_value(), value.binary_value()) {
            (Some(text), _) => {
                digest.update([1]);
                put(&mut digest, text.as_bytes());
            }
            (None, binary) => {
                digest.update([2]);
                put(&mut digest, binary.map_or(&[][..], AsRef::as_ref));
            }
        }
    }
    (!sorted.is_empty()).then(|| hex(&digest.finalize()))
}

fn put(digest: &mut Md5, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    digest.update(length.to_be_bytes());
    digest.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;

    use super::*;

    #[test]
    fn digests_are_those_of_the_service() {
        assert_eq!(of_body("hello"), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(of_attributes(&HashMap::new()), None);
        let text = MessageAttributeValue::builder().data_type("String");
        let text = text.string_value("v").build().unwrap();
        let binary = MessageAttributeValue::builder().data_type("Binary");
        let binary = binary.binary_value(Blob::new([7])).build().unwrap();
        let both = HashMap::from([("b".to_owned(), binary), ("a".to_owned(), text)]);
        let mut bytes = Vec::new();
        for part in ["a", "String"] {
            bytes.extend((part.len() as u32).to_be_bytes());
            bytes.extend(part.bytes());
        }
        bytes.extend([1, 0, 0, 0, 1, b'v']);
        for part in ["b", "Binary"] {
            bytes.extend((part.len() as u32).to_be_bytes());
            bytes.extend(part.bytes());
        }
        bytes.extend([2, 0, 0, 0, 1, 7]);
        assert_eq!(of_attributes(&both), Some(hex(&Md5::digest(&bytes))));
    }
}

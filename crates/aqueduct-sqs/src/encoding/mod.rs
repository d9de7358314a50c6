//! Encodes events as messages, in version 1 of the format that the README describes.

mod notification;
mod read;
mod write;

#[cfg(test)]
mod tests;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::MessageAttributeValue;

pub(crate) use self::read::{Incoming, decode};
pub(crate) use self::write::{encode, structured};

/// The service's limit of attributes per message.
const MOST_ATTRIBUTES: usize = 10;

const CONTENT_TYPE: &str = "content-type";
const VERSION: &str = "ce-specversion";
const TYPES: &str = "aqueduct-types";

/// The prefix of message attributes that this backend adds for itself.
const OURS: &str = "aqueduct-";

/// The attribute of an event that holds the message attributes that the event does not map: all of a
/// foreign event, and those of a CloudEvent that no rule of the format reads.
const FOREIGN: &str = "sqsattributes";

/// The attribute of a foreign event that holds the type of its notification.
const NOTIFICATION: &str = "sqstype";

/// A message to send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) body: String,
    pub(crate) attributes: Vec<(String, MessageAttributeValue)>,
}

impl Encoded {
    /// Adds a text attribute.
    pub(crate) fn add(&mut self, name: &str, text: &str) {
        let value = attribute("String", Some(text.to_owned()), None);
        self.attributes
            .extend(value.map(|value| (name.to_owned(), value)));
    }

    /// Returns the size that counts towards the service's limits, in bytes.
    pub(crate) fn size(&self) -> usize {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, value)| {
                let text = value.string_value().map_or(0, str::len);
                let binary = value.binary_value().map_or(0, |it| it.as_ref().len());
                name.len() + value.data_type().len() + text + binary
            })
            .sum();
        self.body.len() + attributes
    }
}

fn attribute(
    data_type: &str,
    text: Option<String>,
    binary: Option<Vec<u8>>,
) -> Option<MessageAttributeValue> {
    MessageAttributeValue::builder()
        .data_type(data_type)
        .set_string_value(text)
        .set_binary_value(binary.map(Blob::new))
        .build()
        .ok()
}

/// Returns whether the service accepts the text: only the characters of XML 1.0.
fn is_text(text: &str) -> bool {
    text.chars().all(is_character)
}

fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

//! Encodes events as messages, in version 1 of the format that the README describes.

mod inflate;
mod read;
mod write;

#[cfg(test)]
mod tests;

use aqueduct_core::AttributeValue;

pub(crate) use self::inflate::inflate;
pub(crate) use self::read::{Incoming, decode};
pub(crate) use self::write::{encode, size_of, structured};

/// The service's limits: <https://cloud.google.com/pubsub/quotas#resource_limits>.
const MOST_ATTRIBUTES: usize = 100;
const LONGEST_NAME: usize = 256;
const LONGEST_VALUE: usize = 1024;
const LONGEST_KEY: usize = 1024;

/// The name that the binding gives the content type; readers ignore its case.
const CONTENT_TYPE: &str = "Content-Type";
const VERSION: &str = "ce-specversion";

/// The types of attributes that are not text, which the binding does not carry.
const TYPES: &str = "aqueduct-types";

/// The attribute of a foreign event that holds all attributes of its message.
const FOREIGN: &str = "pubsubattributes";

/// The prefix of the ordering key of a key that the service does not take.
const HASHED: &str = "aqueduct-hash:";

fn type_of(value: &AttributeValue) -> Option<&'static str> {
    Some(match value {
        AttributeValue::String(_) => "string",
        AttributeValue::Boolean(_) => "boolean",
        AttributeValue::Integer(_) => "integer",
        AttributeValue::Binary(_) => "binary",
        AttributeValue::Uri(_) => "uri",
        AttributeValue::UriRef(_) => "urireference",
        AttributeValue::Timestamp(_) => "timestamp",
        _ => return None,
    })
}

//! The JSON event format of CloudEvents 1.0.
//!
//! - Data of a JSON content type is written unchanged, byte for byte, in `data`; if it is not a JSON
//!   value, or has white space around it, it is written in `data_base64` instead.
//! - Data of a text or XML content type in UTF-8 is a string in `data`.
//! - All other data, and data without content type, is written in `data_base64`.
//! - JSON has no types for Binary, URI, URI-reference and Timestamp: such attributes are decoded as
//!   strings with the same canonical text.
//!
//! ```
//! use aqueduct_core::{Event, cloudevents::json};
//!
//! let event = Event::json("order.placed", &[1, 2])?
//!     .with_id("A1")
//!     .with_source("/shop")
//!     .with_key("VINET");
//! let mut encoded = Vec::new();
//! json::encode(&event, &mut encoded);
//! assert_eq!(
//!     std::str::from_utf8(&encoded).unwrap(),
//!     concat!(
//!         r#"{"specversion":"1.0","id":"A1","source":"/shop","type":"order.placed","#,
//!         r#""partitionkey":"VINET","datacontenttype":"application/json","data":[1,2]}"#,
//!     )
//! );
//! assert_eq!(json::decode(&encoded.into())?, event);
//! # Ok::<(), aqueduct_core::Error>(())
//! ```

mod decode;
mod encode;
mod scan;

pub(crate) use self::decode::decode_unchecked;
pub use self::decode::{decode, decode_batch};
#[cfg(test)]
pub(super) use self::decode::{decode_any, decode_plain};
pub use self::encode::{encode, encode_batch};

/// The media type of one event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The media type of a batch.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";

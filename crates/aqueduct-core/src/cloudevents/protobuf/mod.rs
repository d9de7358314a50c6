//! The Protobuf event format of CloudEvents 1.0: `io.cloudevents.v1.CloudEvent` and
//! `CloudEventBatch`.
//!
//! - Attributes keep their types.
//! - Data of a JSON, text or XML content type in UTF-8 is `text_data`; all other data, and data
//!   without content type, is `binary_data`.
//! - Data of content type `application/protobuf` whose schema is a type URL
//!   (`type.googleapis.com/…`) is `proto_data`. On decoding, the type URL becomes the schema and
//!   `application/protobuf` the content type, unless the event sets them itself.
//!
//! ```
//! use aqueduct_core::{Event, cloudevents::protobuf};
//!
//! let event = Event::json("order.placed", &[1, 2])?.with_source("/shop").with_key("VINET");
//! let mut encoded = Vec::new();
//! protobuf::encode(&event, &mut encoded);
//! assert_eq!(protobuf::decode(&encoded.into())?, event);
//! # Ok::<(), aqueduct_core::Error>(())
//! ```

mod decode;
mod encode;

pub(super) use self::decode::claims_version;
pub use self::decode::{decode, decode_batch};
pub use self::encode::{encode, encode_batch};

/// The media type of one event.
pub const CONTENT_TYPE: &str = "application/cloudevents+protobuf";

/// The media type of a batch.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+protobuf";

const PROTOBUF: &str = "application/protobuf";
const TYPE_URL: &str = "type.googleapis.com/";

/// The fields of the messages, by number.
mod field {
    pub(super) const EVENTS: u32 = 1;

    pub(super) const ID: u32 = 1;
    pub(super) const SOURCE: u32 = 2;
    pub(super) const SPEC_VERSION: u32 = 3;
    pub(super) const TYPE: u32 = 4;
    pub(super) const ATTRIBUTES: u32 = 5;
    pub(super) const BINARY_DATA: u32 = 6;
    pub(super) const TEXT_DATA: u32 = 7;
    pub(super) const PROTO_DATA: u32 = 8;

    pub(super) const ENTRY_KEY: u32 = 1;
    pub(super) const ENTRY_VALUE: u32 = 2;

    pub(super) const CE_BOOLEAN: u32 = 1;
    pub(super) const CE_INTEGER: u32 = 2;
    pub(super) const CE_STRING: u32 = 3;
    pub(super) const CE_BYTES: u32 = 4;
    pub(super) const CE_URI: u32 = 5;
    pub(super) const CE_URI_REF: u32 = 6;
    pub(super) const CE_TIMESTAMP: u32 = 7;

    pub(super) const TIMESTAMP_SECONDS: u32 = 1;
    pub(super) const TIMESTAMP_NANOS: u32 = 2;

    pub(super) const ANY_TYPE_URL: u32 = 1;
    pub(super) const ANY_VALUE: u32 = 2;
}

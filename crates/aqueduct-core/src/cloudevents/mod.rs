//! The event formats of CloudEvents 1.0: [`json`] and [`protobuf`], single and batch.
//!
//! They are for carriers without headers, and for files; [`receive`] decides whether a received body
//! is an event in one of them. Encoding never fails and does not check the event:
//! [`Event::validate`](crate::Event::validate) does. Decoding takes any bytes and returns `Corrupt`
//! if they are not the format, or `Invalid`, naming the attribute, if they break a rule of
//! CloudEvents.
//!
//! | event | attribute |
//! |---|---|
//! | `id`, `source`, `subject`, `time` | the same |
//! | `kind` | `type` |
//! | `key` | `partitionkey`, the extension of that name |
//! | `content_type` | `datacontenttype` |
//! | `schema` | `dataschema` |
//! | `attributes` | each under its name |
//!
//! Both formats preserve the bytes of data and the content type. A JSON data value that was written
//! without content type is decoded as `application/json`, as the specification requires.

mod assign;
mod fault;
pub mod json;
mod media;
pub mod protobuf;
mod receive;
#[cfg(test)]
mod tests;

pub use self::receive::{Received, receive};

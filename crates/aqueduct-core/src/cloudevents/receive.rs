use bytes::Bytes;

use super::fault::invalid;
use super::media::{self, Form, form};
use super::{json, protobuf};
use crate::{Error, Event};

/// A received body, as [`receive`] recognised it.
// An event is moved once, out of this value: a box would cost an allocation per event received.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A valid CloudEvent.
    Event(Event),
    /// It claims to be a CloudEvent and is not valid: it becomes a dead letter, with this reason.
    Invalid(String),
    /// It does not claim to be a CloudEvent.
    Foreign,
}

/// Recognises a CloudEvent by its body and, if the carrier has one, its media type. Every backend
/// decides by this function, so that the same bytes mean the same everywhere.
///
/// - A media type of CloudEvents, in any case, decides alone.
/// - Without a media type, or with one of JSON, the bytes decide: a JSON object, or a list of
///   objects, with a member `specversion`, or a Protobuf message with a version in the format's
///   field for it.
///
/// ```
/// use aqueduct_core::cloudevents::{Received, receive};
///
/// let receive = |body: &'static str| receive(&body.into(), None);
/// let valid = r#"{"specversion":"1.0","id":"1","source":"/s","type":"order.placed"}"#;
/// assert!(matches!(receive(valid), Received::Event(event) if event.kind() == "order.placed"));
/// let old = r#"{"specversion":"0.3","id":"1","source":"/s","type":"order.placed"}"#;
/// assert!(matches!(receive(old), Received::Invalid(reason) if reason.contains("0.3")));
/// assert_eq!(receive(r#"{"id":"1"}"#), Received::Foreign);
/// ```
pub fn receive(body: &Bytes, media_type: Option<&str>) -> Received {
    match media_type {
        None => by_bytes(body),
        Some(declared) if media::is(declared, json::CONTENT_TYPE) => {
            decided(json::decode(body), body)
        }
        Some(declared) if media::is(declared, protobuf::CONTENT_TYPE) => {
            decided(protobuf::decode(body), body)
        }
        Some(declared) if is_batch(declared) => Received::Invalid(batch()),
        Some(declared) if is_cloudevents(declared) => Received::Invalid(
            invalid(format_args!(
                "the format {declared} is not read (expected {} or {})",
                json::CONTENT_TYPE,
                protobuf::CONTENT_TYPE
            ))
            .to_string(),
        ),
        Some(declared) if form(declared) == Form::Json => by_bytes(body),
        Some(_) => Received::Foreign,
    }
}

fn by_bytes(body: &Bytes) -> Received {
    // A Protobuf message begins with a line feed, and JSON may.
    let starts_with = |mark| body.trim_ascii_start().first() == Some(&mark);
    let is_json = starts_with(b'{') || starts_with(b'[');
    let json_error = match is_json.then(|| json::decode(body)) {
        Some(Ok(event)) => return Received::Event(event),
        Some(Err(error)) => Some(error),
        None => None,
    };
    match (protobuf::decode(body), json_error) {
        (Ok(event), _) => Received::Event(event),
        (_, Some(error)) if claims_version(body) => decided(Err(error), body),
        (Err(error), _) if protobuf::claims_version(body) => decided(Err(error), body),
        _ => Received::Foreign,
    }
}

fn decided(decoded: Result<Event, Error>, body: &Bytes) -> Received {
    match decoded {
        Ok(event) => Received::Event(event),
        Err(_) if body.trim_ascii_start().first() == Some(&b'[') => Received::Invalid(batch()),
        Err(error) => Received::Invalid(error.message().to_owned()),
    }
}

fn batch() -> String {
    invalid("a batch of events in one record (expected one event in each record)").to_string()
}

fn is_batch(media_type: &str) -> bool {
    media::is(media_type, json::BATCH_CONTENT_TYPE)
        || media::is(media_type, protobuf::BATCH_CONTENT_TYPE)
}

fn is_cloudevents(media_type: &str) -> bool {
    const PREFIX: &str = "application/cloudevents";
    let start = media_type.trim_start().get(..PREFIX.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Returns whether the JSON text has a member `specversion` in its object, or in an object of its
/// list. Damaged text is read up to the damage, which may come before or after the member.
fn claims_version(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    let level = match body.first() {
        Some(b'[') => 2,
        _ => 1,
    };
    let (mut depth, mut at) = (0, 0);
    while let Some(byte) = body.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let end = end_of_string(body, at);
                let is_name = || {
                    let behind = body.get(end + 1..).unwrap_or_default();
                    behind.trim_ascii_start().first() == Some(&b':')
                };
                if depth == level && body.get(at..end) == Some(b"specversion") && is_name() {
                    return true;
                }
                at = end + 1;
            }
            _ => {}
        }
    }
    false
}

/// Returns the index of the closing quotation mark of the string that begins at `at`.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

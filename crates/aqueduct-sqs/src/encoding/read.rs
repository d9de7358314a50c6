use std::collections::HashMap;
use std::fmt;

use aqueduct_core::cloudevents::{Received, receive};
use aqueduct_core::{AttributeValue, Error, ErrorKind, Event, EventId, Result, SmallStr};
use aws_sdk_sqs::types::MessageAttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::notification;
use super::{CONTENT_TYPE, FOREIGN, NOTIFICATION, OURS, TYPES, VERSION};

/// A received message.
pub(crate) struct Incoming<'a> {
    pub(crate) id: &'a str,
    pub(crate) body: String,
    pub(crate) attributes: &'a HashMap<String, MessageAttributeValue>,
    /// The message group, used as the key of a message that is not a CloudEvent.
    pub(crate) group: Option<&'a str>,
    /// The queue, used as the source of a message that is not a CloudEvent.
    pub(crate) source: &'a SmallStr,
}

/// Decodes a message. One that does not claim to be a CloudEvent becomes a foreign event; an invalid
/// CloudEvent becomes a damaged event that carries the reason.
pub(crate) fn decode(message: Incoming<'_>) -> Event {
    let content_type = text(message.attributes, CONTENT_TYPE);
    let body = Bytes::from(message.body);
    let received = match text(message.attributes, VERSION) {
        Some("1.0") => binary(message.attributes, body.clone()),
        Some(other) => Err(Error::new(
            ErrorKind::Invalid,
            format!("invalid CloudEvent: `ce-specversion` is `{other}` (expected 1.0)"),
        )),
        None => match receive(&body, content_type) {
            Received::Event(event) => Ok(Some(with_types(message.attributes, event))),
            Received::Invalid(reason) => Err(Error::new(ErrorKind::Invalid, reason)),
            Received::Foreign => Ok(None),
        },
    };
    let damage = match received {
        Ok(Some(event)) => return with_unmapped(message.attributes, event),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let notification = std::str::from_utf8(&body)
        .ok()
        .and_then(notification::type_of);
    let mut event = Event::foreign(message.source.clone(), EventId::new(message.id), body);
    if let Some(group) = message.group {
        event = event.with_key(group);
    }
    if let Some(content_type) = content_type {
        event = event.with_content_type(content_type);
    }
    for (name, value) in message.attributes {
        if let Some(text) = value.string_value() {
            // A name that CloudEvents does not allow is in `FOREIGN` alone.
            let _ = event.attributes_mut().set(name.as_str(), text);
        }
    }
    if let Some(kind) = notification {
        let _ = event.attributes_mut().set(NOTIFICATION, kind);
    }
    if !message.attributes.is_empty() {
        let all = whole(message.attributes.iter());
        let _ = event.attributes_mut().set(FOREIGN, all);
    }
    match damage {
        Some(error) => event.damaged_by(error.message()),
        None => event,
    }
}

/// Keeps the message attributes that the format of CloudEvents does not read: those that another
/// program added to the message.
fn with_unmapped(attributes: &HashMap<String, MessageAttributeValue>, mut event: Event) -> Event {
    let is_binary = attributes.contains_key(VERSION);
    let unmapped = || {
        attributes.iter().filter(|(name, _)| {
            let read = name.as_str() == CONTENT_TYPE || is_binary && name.starts_with("ce-");
            !read && !name.starts_with(OURS)
        })
    };
    // A redriven event brings the attributes of its first message along.
    if unmapped().next().is_some() && event.attributes().get(FOREIGN).is_none() {
        // Cannot fail: the name is valid.
        let _ = event.attributes_mut().set(FOREIGN, whole(unmapped()));
    }
    event
}

/// Returns attributes with their types as JSON, as the service's own interface shows them.
fn whole<'a>(attributes: impl Iterator<Item = (&'a String, &'a MessageAttributeValue)>) -> String {
    let shown = attributes.map(|(name, value)| {
        let mut shown = serde_json::Map::new();
        shown.insert("DataType".into(), value.data_type().into());
        if let Some(text) = value.string_value() {
            shown.insert("StringValue".into(), text.into());
        }
        if let Some(bytes) = value.binary_value() {
            shown.insert("BinaryValue".into(), STANDARD.encode(bytes).into());
        }
        (name.clone(), serde_json::Value::Object(shown))
    });
    serde_json::Value::Object(shown.collect()).to_string()
}

fn text<'a>(attributes: &'a HashMap<String, MessageAttributeValue>, name: &str) -> Option<&'a str> {
    attributes.get(name)?.string_value()
}

fn binary(
    attributes: &HashMap<String, MessageAttributeValue>,
    body: Bytes,
) -> Result<Option<Event>> {
    let required = |name| text(attributes, name).ok_or_else(|| invalid(name, "is missing"));
    let id = EventId::new(required("ce-id")?);
    let mut event = Event::with_id_and_type(id, required("ce-type")?.into())
        .with_source(required("ce-source")?)
        .with_data(body);
    if let Some(content_type) = text(attributes, CONTENT_TYPE) {
        event = event.with_content_type(content_type);
    }
    for (full, value) in attributes {
        let Some(name) = full.strip_prefix("ce-") else {
            continue;
        };
        match (name, value.string_value()) {
            ("specversion" | "id" | "type" | "source", _) => {}
            ("subject", Some(text)) => event = event.with_subject(text),
            ("partitionkey", Some(text)) => event = event.with_key(text),
            ("dataschema", Some(text)) => event = event.with_schema(text),
            ("time", Some(text)) => {
                let time = text.parse().map_err(|e: Error| invalid(full, e))?;
                event = event.with_time(time);
            }
            (name, Some(text)) => {
                let of = value
                    .data_type()
                    .split_once('.')
                    .map_or("string", |it| it.1);
                let typed = typed(of, text);
                let value = typed.ok_or_else(|| invalid(full, format_args!("is not a {of}")))?;
                event.attributes_mut().set(name, value)?;
            }
            (name, None) => {
                let binary = value.binary_value();
                let bytes = binary.ok_or_else(|| invalid(full, "has no value"))?;
                let bytes = Bytes::copy_from_slice(bytes.as_ref());
                event.attributes_mut().set(name, bytes)?;
            }
        }
    }
    event.validate()?;
    Ok(Some(event))
}

fn invalid(attribute: &str, why: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("invalid CloudEvent: `{attribute}`: {why}"),
    )
}

/// Restores the attribute types that JSON lacks, whose values arrive as text.
fn with_types(attributes: &HashMap<String, MessageAttributeValue>, mut event: Event) -> Event {
    for pair in text(attributes, TYPES).unwrap_or_default().split(' ') {
        let Some((name, of)) = pair.split_once('=') else {
            continue;
        };
        let value = event
            .attributes()
            .get(name)
            .and_then(|it| typed(of, it.as_str()?));
        if let Some(value) = value {
            // Cannot fail: the event already has an attribute of this name.
            let _ = event.attributes_mut().set(name, value);
        }
    }
    event
}

fn typed(of: &str, text: &str) -> Option<AttributeValue> {
    Some(match of {
        "boolean" => AttributeValue::Boolean(text.parse().ok()?),
        "integer" => AttributeValue::Integer(text.parse().ok()?),
        "binary" => AttributeValue::Binary(STANDARD.decode(text).ok()?.into()),
        "uri" => AttributeValue::Uri(text.into()),
        "urireference" => AttributeValue::UriRef(text.into()),
        "timestamp" => AttributeValue::Timestamp(text.parse().ok()?),
        _ => AttributeValue::String(text.into()),
    })
}

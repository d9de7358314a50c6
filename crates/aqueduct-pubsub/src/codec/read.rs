use std::collections::HashMap;
use std::fmt;

use aqueduct_core::cloudevents::{Received, receive};
use aqueduct_core::{AttributeValue, Error, ErrorKind, Event, EventId, Result, SmallStr};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{CONTENT_TYPE, FOREIGN, HASHED, TYPES, VERSION};

/// A received message.
pub(crate) struct Incoming<'a> {
    pub(crate) id: &'a str,
    pub(crate) data: Bytes,
    pub(crate) attributes: HashMap<String, String>,
    /// Empty if the message has none.
    pub(crate) ordering_key: &'a str,
    /// The topic, used as the source of a message that is not a CloudEvent.
    pub(crate) source: &'a SmallStr,
}

/// Decodes a message. One that does not claim to be a CloudEvent becomes a foreign event; an invalid
/// CloudEvent becomes a damaged event that carries the reason.
pub(crate) fn decode(message: Incoming<'_>) -> Event {
    let key = Some(message.ordering_key).filter(|key| !key.is_empty() && !key.starts_with(HASHED));
    let attributes = &message.attributes;
    let content_type = content_type(attributes);
    let structured = content_type.is_some_and(is_cloudevents);
    let received = match attributes.get(VERSION).filter(|_| !structured) {
        Some(version) if version == "1.0" => {
            binary(attributes, content_type, message.data.clone()).map(Some)
        }
        Some(other) => Err(invalid(
            VERSION,
            format_args!("is `{other}` (expected 1.0)"),
        )),
        None => match receive(&message.data, content_type) {
            Received::Event(event) => Ok(Some(with_types(attributes, event))),
            Received::Invalid(reason) => Err(Error::new(ErrorKind::Invalid, reason)),
            Received::Foreign => Ok(None),
        },
    };
    match received {
        Ok(Some(event)) => match (event.key(), key) {
            (None, Some(key)) => event.with_key(key),
            _ => event,
        },
        Ok(None) => foreign(message, key),
        Err(error) => foreign(message, key).damaged_by(error.message()),
    }
}

fn foreign(message: Incoming<'_>, key: Option<&str>) -> Event {
    let id = EventId::new(message.id);
    let mut event = Event::foreign(message.source.clone(), id, message.data);
    if let Some(key) = key {
        event = event.with_key(key);
    }
    if let Some(content_type) = content_type(&message.attributes) {
        event = event.with_content_type(content_type);
    }
    for (name, value) in &message.attributes {
        // A name that CloudEvents does not allow is in `FOREIGN` alone.
        let _ = event.attributes_mut().set(name.as_str(), value.as_str());
    }
    if !message.attributes.is_empty() {
        let sorted: std::collections::BTreeMap<_, _> = message.attributes.iter().collect();
        let whole = serde_json::to_string(&sorted).unwrap_or_default();
        let _ = event.attributes_mut().set(FOREIGN, whole);
    }
    event
}

fn binary(
    attributes: &HashMap<String, String>,
    content_type: Option<&str>,
    data: Bytes,
) -> Result<Event> {
    let required = |name| match attributes.get(name) {
        Some(value) => Ok(value.as_str()),
        None => Err(invalid(name, "is missing")),
    };
    let id = EventId::new(required("ce-id")?);
    let mut event = Event::with_id_and_type(id, required("ce-type")?.into())
        .with_source(required("ce-source")?);
    if !data.is_empty() {
        event = event.with_data(data);
    }
    if let Some(content_type) = content_type {
        event = event.with_content_type(content_type);
    }
    let types = attributes.get(TYPES).map_or("", String::as_str);
    for (full, value) in attributes {
        let Some(name) = full.strip_prefix("ce-") else {
            continue;
        };
        match name {
            "specversion" | "id" | "type" | "source" | "datacontenttype" => {}
            "subject" => event = event.with_subject(value.as_str()),
            "partitionkey" => event = event.with_key(value.as_str()),
            "dataschema" => event = event.with_schema(value.as_str()),
            "time" => {
                let time = value.parse().map_err(|e: Error| invalid(full, e))?;
                event = event.with_time(time);
            }
            name => {
                let of = type_named(types, name);
                let typed = typed(of, value);
                let typed = typed.ok_or_else(|| invalid(full, format_args!("is not a {of}")))?;
                event.attributes_mut().set(name, typed)?;
            }
        }
    }
    event.validate()?;
    Ok(event)
}

fn content_type(attributes: &HashMap<String, String>) -> Option<&str> {
    let named = |name: &str| attributes.get(name).map(String::as_str);
    named(CONTENT_TYPE)
        .or_else(|| named("content-type"))
        .or_else(|| named("ce-datacontenttype"))
}

fn is_cloudevents(content_type: &str) -> bool {
    const PREFIX: &str = "application/cloudevents";
    content_type
        .get(..PREFIX.len())
        .is_some_and(|it| it.eq_ignore_ascii_case(PREFIX))
}

fn invalid(attribute: &str, why: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("invalid CloudEvent: `{attribute}`: {why}"),
    )
}

/// Restores the attribute types that JSON lacks, whose values arrive as text.
fn with_types(attributes: &HashMap<String, String>, mut event: Event) -> Event {
    let types = attributes.get(TYPES).map_or("", String::as_str);
    for (name, of) in types.split(' ').filter_map(|pair| pair.split_once('=')) {
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

fn type_named<'a>(types: &'a str, name: &str) -> &'a str {
    types
        .split(' ')
        .filter_map(|pair| pair.split_once('='))
        .find(|(known, _)| *known == name)
        .map_or("string", |(_, of)| of)
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

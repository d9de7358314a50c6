use std::collections::HashMap;

use aqueduct_core::cloudevents::json;
use aqueduct_core::{AttributeValue, Event, EventId, Result, SmallStr};
use aws_sdk_sqs::types::MessageAttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{CONTENT_TYPE, TYPES, VERSION};

/// A message as it was received.
pub(crate) struct Incoming<'a> {
    pub(crate) id: &'a str,
    pub(crate) body: String,
    pub(crate) attributes: &'a HashMap<String, MessageAttributeValue>,
    /// The message group, which is the key of who sends no CloudEvents.
    pub(crate) group: Option<&'a str>,
    /// The queue, for the source of who sends no CloudEvents.
    pub(crate) source: &'a SmallStr,
}

/// The event of a message. One that is no CloudEvent, or a broken one, becomes an event that says
/// so.
pub(crate) fn decode(message: Incoming<'_>) -> Event {
    let content_type = text(message.attributes, CONTENT_TYPE);
    let is_structured = |it: &str| it.starts_with(json::CONTENT_TYPE);
    let body = Bytes::from(message.body);
    let read = match text(message.attributes, VERSION) {
        Some("1.0") => binary(message.attributes, body.clone()),
        _ if content_type.is_some_and(is_structured) => structured(message.attributes, &body).ok(),
        _ => None,
    };
    read.unwrap_or_else(|| {
        let mut event = Event::foreign(message.source.clone(), EventId::new(message.id), body);
        if let Some(group) = message.group {
            event = event.with_key(group);
        }
        if let Some(content_type) = content_type {
            event = event.with_content_type(content_type);
        }
        for (name, value) in message.attributes {
            if let Some(text) = value.string_value() {
                // Those whose name is none for an attribute stay behind.
                let _ = event.attributes_mut().set(name.as_str(), text);
            }
        }
        event
    })
}

fn text<'a>(attributes: &'a HashMap<String, MessageAttributeValue>, name: &str) -> Option<&'a str> {
    attributes.get(name)?.string_value()
}

fn binary(attributes: &HashMap<String, MessageAttributeValue>, body: Bytes) -> Option<Event> {
    let id = EventId::new(text(attributes, "ce-id")?);
    let mut event = Event::with_id_and_type(id, text(attributes, "ce-type")?.into())
        .with_source(text(attributes, "ce-source")?)
        .with_data(body);
    if let Some(content_type) = text(attributes, CONTENT_TYPE) {
        event = event.with_content_type(content_type);
    }
    for (name, value) in attributes {
        let Some(name) = name.strip_prefix("ce-") else {
            continue;
        };
        match (name, value.string_value()) {
            ("specversion" | "id" | "type" | "source", _) => {}
            ("subject", Some(text)) => event = event.with_subject(text),
            ("partitionkey", Some(text)) => event = event.with_key(text),
            ("dataschema", Some(text)) => event = event.with_schema(text),
            ("time", Some(text)) => event = event.with_time(text.parse().ok()?),
            (name, Some(text)) => {
                let of = value
                    .data_type()
                    .split_once('.')
                    .map_or("string", |it| it.1);
                event.attributes_mut().set(name, typed(of, text)?).ok()?;
            }
            (name, None) => {
                let bytes = Bytes::copy_from_slice(value.binary_value()?.as_ref());
                event.attributes_mut().set(name, bytes).ok()?;
            }
        }
    }
    event.validate().ok()?;
    Some(event)
}

fn structured(attributes: &HashMap<String, MessageAttributeValue>, body: &Bytes) -> Result<Event> {
    let mut event = json::decode(body)?;
    // JSON has no types for these: they come as text.
    for pair in text(attributes, TYPES).unwrap_or_default().split(' ') {
        let Some((name, of)) = pair.split_once('=') else {
            continue;
        };
        let value = event
            .attributes()
            .get(name)
            .and_then(|it| typed(of, it.as_str()?));
        if let Some(value) = value {
            event.attributes_mut().set(name, value)?;
        }
    }
    Ok(event)
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

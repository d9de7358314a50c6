use std::fmt;

use aqueduct_core::cloudevents::{Received, receive};
use aqueduct_core::{
    AttributeValue, Error, ErrorKind, Event, EventId, PartitionId, Result, SmallStr, Timestamp,
};
use bytes::Bytes;
use fe2o3_amqp::types::messaging::annotations::AnnotationKey;
use fe2o3_amqp::types::messaging::{ApplicationProperties, Body, Message, MessageAnnotations};
use fe2o3_amqp::types::primitives::{SimpleValue, Value};

use super::foreign::foreign;
use super::json::plain;
use super::{NO_DATA, OTHER_PREFIX, PARTITION_KEY, PREFIX, TYPES};
use crate::config::Encoding;

/// The place of a message, for the id of one that is not a CloudEvent.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The hub, used as the source.
    pub(crate) hub: &'a SmallStr,
    pub(crate) partition: &'a PartitionId,
    pub(crate) sequence: i64,
}

impl Place<'_> {
    pub(super) fn event_id(&self) -> EventId {
        EventId::new(format!("{}/{}", self.partition, self.sequence))
    }
}

/// The annotations that the service adds to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) sequence: Option<i64>,
    /// The offset, which may be any text.
    pub(crate) offset: Option<String>,
    pub(crate) stored_at: Option<Timestamp>,
    pub(crate) key: Option<String>,
}

impl Stamps {
    /// Takes the annotations of the service out of a message.
    pub(crate) fn take(message: &mut Message<Body<Value>>) -> Self {
        let Some(MessageAnnotations(annotations)) = &mut message.message_annotations else {
            return Self::default();
        };
        let mut take = |name: &str| {
            annotations
                .get_mut(&name as &dyn AnnotationKey)
                .map(std::mem::take)
        };
        Self {
            sequence: match take("x-opt-sequence-number") {
                Some(Value::Long(number)) => Some(number),
                Some(Value::Int(number)) => Some(number.into()),
                _ => None,
            },
            offset: match take("x-opt-offset") {
                Some(Value::String(text)) => Some(text),
                Some(Value::Symbol(text)) => Some(text.0),
                Some(Value::Long(number)) => Some(number.to_string()),
                _ => None,
            },
            stored_at: match take("x-opt-enqueued-time") {
                Some(Value::Timestamp(time)) => Some(Timestamp::from_millis(time.into_inner())),
                _ => None,
            },
            key: match take(PARTITION_KEY) {
                Some(Value::String(text)) => Some(text),
                Some(Value::Symbol(text)) => Some(text.0),
                _ => None,
            },
        }
    }
}

/// Decodes a message. One that does not claim to be a CloudEvent becomes a foreign event; an invalid
/// CloudEvent becomes a damaged event that carries the reason.
pub(crate) fn decode(
    message: Message<Body<Value>>,
    stamps: &Stamps,
    encoding: Encoding,
    at: Place<'_>,
) -> Event {
    let received = match encoding {
        Encoding::Raw => Ok(None),
        Encoding::CloudEvents => cloud_event(&message),
    };
    match received {
        Ok(Some(event)) => event,
        Ok(None) => foreign(message, stamps, at),
        Err(error) => foreign(message, stamps, at).damaged_by(error.message()),
    }
}

/// Returns the event for a message that is not valid AMQP.
pub(crate) fn damaged(why: &str, at: Place<'_>) -> Event {
    Event::foreign(at.hub.clone(), at.event_id(), Bytes::new())
        .damaged_by(format!("not a valid AMQP message: {why}"))
}

fn cloud_event(message: &Message<Body<Value>>) -> Result<Option<Event>> {
    let content_type = message
        .properties
        .as_ref()
        .and_then(|it| it.content_type.as_ref())
        .map(|it| it.as_str());
    let properties = message.application_properties.as_ref();
    let version = properties.and_then(|it| find(it, "specversion"));
    if let (Some(version), Some(properties)) = (version, properties) {
        return match version {
            SimpleValue::String(version) if version == "1.0" => {
                binary_mode(properties, content_type, data(&message.body)?).map(Some)
            }
            other => Err(invalid(
                "specversion",
                format_args!("is `{}` (expected 1.0)", plain(other)),
            )),
        };
    }
    let Some(body) = data(&message.body)? else {
        return Ok(None);
    };
    match receive(&body, content_type) {
        Received::Event(event) => Ok(Some(event)),
        Received::Invalid(reason) => Err(Error::new(ErrorKind::Invalid, reason)),
        Received::Foreign => Ok(None),
    }
}

/// Returns the data of a body of data sections; `None` for another body.
fn data(body: &Body<Value>) -> Result<Option<Bytes>> {
    Ok(match body {
        Body::Data(sections) => Some(super::foreign::join(sections)),
        // Some clients write text or bytes as a value.
        Body::Value(value) => match &value.0 {
            Value::Binary(bytes) => Some(Bytes::copy_from_slice(bytes)),
            Value::String(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
            _ => None,
        },
        Body::Sequence(_) | Body::Empty => None,
    })
}

fn find<'a>(properties: &'a ApplicationProperties, name: &str) -> Option<&'a SimpleValue> {
    let named = |prefix| properties.get(&format!("{prefix}{name}"));
    named(PREFIX).or_else(|| named(OTHER_PREFIX))
}

fn binary_mode(
    properties: &ApplicationProperties,
    content_type: Option<&str>,
    data: Option<Bytes>,
) -> Result<Event> {
    let (mut id, mut kind) = (EventId::new(""), SmallStr::from(""));
    for (full, value) in properties.iter() {
        match attribute(full) {
            Some("id") => id = EventId::new(text(full, value)?),
            Some("type") => kind = text(full, value)?.into(),
            _ => {}
        }
    }
    let mut event = Event::with_id_and_type(id, kind);
    if let Some(content_type) = content_type {
        event = event.with_content_type(content_type);
    }
    let mut has_no_data = false;
    for (full, value) in properties.iter() {
        let Some(name) = attribute(full) else {
            has_no_data |= full == NO_DATA && *value == SimpleValue::Bool(true);
            continue;
        };
        match name {
            "specversion" | "id" | "type" => {}
            "source" => event = event.with_source(text(full, value)?),
            "subject" => event = event.with_subject(text(full, value)?),
            "dataschema" => event = event.with_schema(text(full, value)?),
            "datacontenttype" => event = event.with_content_type(text(full, value)?),
            "partitionkey" => event = event.with_key(plain(value).to_string()),
            "time" => event = event.with_time(time(full, value)?),
            name => event
                .attributes_mut()
                .set(name, plain(value))
                .map_err(|error| invalid(full, error.message()))?,
        }
    }
    if let Some(SimpleValue::String(types)) = properties.get(TYPES) {
        restore_types(&mut event, types);
    }
    if let Some(data) = data.filter(|_| !has_no_data) {
        event = event.with_data(data);
    }
    event.validate()?;
    Ok(event)
}

/// Returns the name of the attribute that a property holds.
fn attribute(property: &str) -> Option<&str> {
    let ours = property.strip_prefix(PREFIX);
    ours.or_else(|| property.strip_prefix(OTHER_PREFIX))
}

fn text<'a>(name: &str, value: &'a SimpleValue) -> Result<&'a str> {
    match value {
        SimpleValue::String(text) => Ok(text),
        SimpleValue::Symbol(text) => Ok(text.as_str()),
        _ => Err(invalid(name, "is not a string")),
    }
}

fn time(name: &str, value: &SimpleValue) -> Result<Timestamp> {
    match value {
        SimpleValue::Timestamp(time) => Ok(Timestamp::from_millis(time.clone().into_inner())),
        SimpleValue::String(text) => text.parse().map_err(|error: Error| invalid(name, error)),
        _ => Err(invalid(name, "is neither a timestamp nor text")),
    }
}

fn restore_types(event: &mut Event, types: &str) {
    for pair in types.split(' ') {
        let Some((name, of)) = pair.split_once('=') else {
            continue;
        };
        let Some(AttributeValue::String(text)) = event.attributes().get(name) else {
            continue;
        };
        let typed = match of {
            "uri" => AttributeValue::Uri(text.clone()),
            "urireference" => AttributeValue::UriRef(text.clone()),
            "timestamp" => match text.parse() {
                Ok(time) => AttributeValue::Timestamp(time),
                Err(_) => continue,
            },
            _ => continue,
        };
        // Cannot fail: the event already has an attribute of this name.
        let _ = event.attributes_mut().set(name, typed);
    }
}

fn invalid(attribute: &str, why: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("invalid CloudEvent: `{attribute}` {why}"),
    )
}

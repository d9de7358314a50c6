use aqueduct_core::{AttributeValue, Event, Result, Timestamp};

use super::wire::{self, Compound, Section};
use super::{NO_DATA, PARTITION_KEY, PREFIX, TYPES};
use crate::config::Encoding;

/// Returns whether the service takes `key` as a partition key.
pub(crate) fn is_partition_key(key: &str) -> bool {
    // Counted in characters by the service, which stores UTF-16.
    !key.is_empty() && key.encode_utf16().count() <= 128
}

/// Encodes an event as a message.
///
/// # Errors
/// `Invalid` for an event without a required attribute of CloudEvents.
pub(crate) fn encode(event: &Event, encoding: Encoding) -> Result<Vec<u8>> {
    let data = event.data().map_or(&[][..], |data| data);
    let mut out = Vec::with_capacity(data.len() + 320);
    if let Some(key) = event.key().filter(|key| is_partition_key(key)) {
        wire::section(&mut out, Section::MessageAnnotations);
        let mut map = Compound::map(&mut out);
        wire::symbol(&mut out, PARTITION_KEY);
        wire::string(&mut out, key);
        map.add();
        map.add();
        map.end(&mut out);
    }
    // A symbol is ASCII: another content type goes with the attributes.
    if let Some(content_type) = event.content_type().filter(|it| it.is_ascii()) {
        wire::section(&mut out, Section::Properties);
        let mut list = Compound::list(&mut out);
        // Content type is the seventh field.
        for _ in 0..6 {
            wire::null(&mut out);
            list.add();
        }
        wire::symbol(&mut out, content_type);
        list.add();
        list.end(&mut out);
    }
    if encoding == Encoding::CloudEvents {
        event.validate()?;
        attributes(event, &mut out);
    }
    wire::section(&mut out, Section::Data);
    wire::binary(&mut out, data);
    Ok(out)
}

/// Writes the attributes as application properties, by the AMQP binding of CloudEvents.
fn attributes(event: &Event, out: &mut Vec<u8>) {
    wire::section(out, Section::ApplicationProperties);
    let mut map = Compound::map(out);
    let mut types = String::new();
    let text = |out: &mut Vec<u8>, map: &mut Compound, name, value: &str| {
        property(out, map, name);
        wire::string(out, value);
    };
    text(out, &mut map, "specversion", "1.0");
    event.id().with_str(|id| text(out, &mut map, "id", id));
    text(out, &mut map, "source", event.source());
    text(out, &mut map, "type", event.kind());
    for (name, value) in [
        ("subject", event.subject()),
        ("dataschema", event.schema()),
        ("partitionkey", event.key()),
        (
            "datacontenttype",
            event.content_type().filter(|it| !it.is_ascii()),
        ),
    ] {
        if let Some(value) = value {
            text(out, &mut map, name, value);
        }
    }
    if let Some(at) = event.time() {
        property(out, &mut map, "time");
        time(out, at);
    }
    for (name, value) in event.attributes().iter() {
        property(out, &mut map, name);
        match value {
            AttributeValue::Boolean(value) => wire::boolean(out, *value),
            AttributeValue::Integer(value) => wire::int(out, *value),
            AttributeValue::String(text) => wire::string(out, text),
            AttributeValue::Binary(bytes) => wire::binary(out, bytes),
            AttributeValue::Uri(text) => {
                note(&mut types, name, "uri");
                wire::string(out, text);
            }
            AttributeValue::UriRef(text) => {
                note(&mut types, name, "urireference");
                wire::string(out, text);
            }
            AttributeValue::Timestamp(at) => {
                if !time(out, *at) {
                    note(&mut types, name, "timestamp");
                }
            }
            other => wire::string(out, &other.to_string()),
        }
    }
    if !types.is_empty() {
        wire::string(out, TYPES);
        wire::string(out, &types);
        map.add();
        map.add();
    }
    if event.data().is_none() {
        wire::string(out, NO_DATA);
        wire::boolean(out, true);
        map.add();
        map.add();
    }
    map.end(out);
}

/// Begins a property, and counts its name and value.
fn property(out: &mut Vec<u8>, map: &mut Compound, name: &str) {
    let length = PREFIX.len() + name.len();
    match u8::try_from(length) {
        Ok(length) => {
            out.extend_from_slice(&[0xa1, length]);
            out.extend_from_slice(PREFIX.as_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        Err(_) => wire::string(out, &format!("{PREFIX}{name}")),
    }
    map.add();
    map.add();
}

/// Writes a time. AMQP has milliseconds; a finer one is text, as the binding allows. Returns whether it
/// is of AMQP's type.
fn time(out: &mut Vec<u8>, at: Timestamp) -> bool {
    let millis = at.as_millis();
    let is_whole = Timestamp::from_millis(millis) == at;
    match is_whole {
        true => wire::timestamp(out, millis),
        false => wire::string(out, &at.to_string()),
    }
    is_whole
}

fn note(types: &mut String, name: &str, of: &str) {
    if !types.is_empty() {
        types.push(' ');
    }
    types.push_str(name);
    types.push('=');
    types.push_str(of);
}

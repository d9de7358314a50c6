use std::borrow::Cow;
use std::collections::HashMap;

use aqueduct_core::cloudevents::json;
use aqueduct_core::hash::hash_key;
use aqueduct_core::{AttributeValue, Error, ErrorKind, Event, Result};
use bytes::Bytes;
use google_cloud_pubsub::model::Message;

use super::{
    CONTENT_TYPE, HASHED, LONGEST_KEY, LONGEST_NAME, LONGEST_VALUE, MOST_ATTRIBUTES, TYPES,
    VERSION, type_of,
};
use crate::config::Encoding;

/// Encodes an event. With `ordering` its key is the ordering key.
///
/// # Errors
/// `Invalid` for an event that the service takes in no form.
pub(crate) fn encode(event: &Event, encoding: Encoding, ordering: bool) -> Result<Message> {
    event.validate()?;
    let key = event.key().filter(|_| ordering).map(ordering_key);
    let mut message = match encoding {
        Encoding::Raw => raw(event)?,
        Encoding::CloudEvents => {
            // The ordering key carries the key by itself, unless it is a hash.
            let carried = key
                .as_ref()
                .is_some_and(|it| matches!(it, Cow::Borrowed(_)));
            binary(event, carried).unwrap_or_else(|| structured(event))
        }
    };
    if let Some(key) = key {
        message.ordering_key = key.into_owned();
    }
    Ok(message)
}

/// Encodes the whole event in the JSON format of CloudEvents.
pub(crate) fn structured(event: &Event) -> Message {
    let mut body = Vec::new();
    json::encode(event, &mut body);
    let mut attributes = HashMap::with_capacity(2);
    attributes.insert(CONTENT_TYPE.to_owned(), json::CONTENT_TYPE.to_owned());
    let lost = types(event, |of| !matches!(of, "string" | "boolean" | "integer"));
    if !lost.is_empty() && lost.len() <= LONGEST_VALUE {
        attributes.insert(TYPES.to_owned(), lost);
    }
    let mut message = Message::new();
    message.data = Bytes::from(body);
    message.attributes = attributes;
    message
}

/// Returns the most bytes that the message takes in a request.
pub(crate) fn size_of(message: &Message) -> usize {
    // A tag and a length for each part: at most five bytes for the large ones.
    let attributes: usize = message
        .attributes
        .iter()
        .map(|(name, value)| name.len() + value.len() + 10)
        .sum();
    message.data.len() + message.ordering_key.len() + attributes + 16
}

/// Encodes the data as the message's, and the rest as attributes, if they fit.
fn binary(event: &Event, key_is_carried: bool) -> Option<Message> {
    // A reader cannot tell empty data from none.
    let data = match event.data() {
        Some(data) if data.is_empty() => return None,
        Some(data) => data.clone(),
        None => Bytes::new(),
    };
    let count = 8 + event.attributes().len();
    let mut attributes = HashMap::with_capacity(count);
    let mut put = |name: &str, value: &str| {
        let fits = name.len() <= LONGEST_NAME && value.len() <= LONGEST_VALUE;
        fits.then(|| attributes.insert(name.to_owned(), value.to_owned()))
            .map(|_| ())
    };
    put(VERSION, "1.0")?;
    event.id().with_str(|id| put("ce-id", id))?;
    put("ce-source", event.source())?;
    put("ce-type", event.kind())?;
    let key = event.key().filter(|_| !key_is_carried);
    for (name, value) in [
        ("ce-subject", event.subject()),
        ("ce-partitionkey", key),
        ("ce-dataschema", event.schema()),
        (CONTENT_TYPE, event.content_type()),
    ] {
        if let Some(value) = value {
            put(name, value)?;
        }
    }
    if let Some(time) = event.time() {
        put("ce-time", &time.to_string())?;
    }
    for (name, value) in event.attributes().iter() {
        let name = format!("ce-{name}");
        match value {
            AttributeValue::String(text) => put(&name, text)?,
            value => {
                type_of(value)?;
                put(&name, &value.to_string())?;
            }
        }
    }
    let typed = types(event, |of| of != "string");
    if !typed.is_empty() {
        put(TYPES, &typed)?;
    }
    if attributes.len() > MOST_ATTRIBUTES {
        return None;
    }
    let mut message = Message::new();
    message.data = data;
    message.attributes = attributes;
    Some(message)
}

fn raw(event: &Event) -> Result<Message> {
    let data = event.data().cloned().unwrap_or_default();
    if data.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "event {} has no data, and `raw` sends nothing else: the service takes no empty message",
                event.id()
            ),
        ));
    }
    let mut message = Message::new();
    message.data = data;
    Ok(message)
}

/// Returns the ordering key of a key: the key itself if the service takes it, else a hash.
fn ordering_key(key: &str) -> Cow<'_, str> {
    match (1..=LONGEST_KEY).contains(&key.len()) && !key.starts_with(HASHED) {
        true => Cow::Borrowed(key),
        false => Cow::Owned(format!("{HASHED}{:032x}", hash_key(key))),
    }
}

/// Lists the attributes whose type `is` needs to be named, as `NAME=TYPE`.
fn types(event: &Event, needs_name: impl Fn(&str) -> bool) -> String {
    let mut all = String::new();
    for (name, value) in event.attributes().iter() {
        if let Some(of) = type_of(value).filter(|of| needs_name(of)) {
            let space = if all.is_empty() { "" } else { " " };
            all.extend([space, name, "=", of]);
        }
    }
    all
}

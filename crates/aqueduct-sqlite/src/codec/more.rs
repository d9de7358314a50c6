use aqueduct_core::{AttributeValue, Attributes, Error, ErrorKind, Event, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Returns the attributes that few events have, as the last element of a head.
pub(super) fn more_of(event: &Event) -> Option<Value> {
    if event.subject().is_none() && event.time().is_none() && event.attributes().is_empty() {
        return None;
    }
    let mut more = Map::new();
    if let Some(subject) = event.subject() {
        more.insert("subject".into(), subject.into());
    }
    if let Some(time) = event.time() {
        more.insert("time".into(), time.to_string().into());
    }
    if !event.attributes().is_empty() {
        more.insert("attributes".into(), write_attributes(event.attributes()));
    }
    Some(more.into())
}

fn write_attributes(attributes: &Attributes) -> Value {
    attributes
        .iter()
        .map(|(name, value)| {
            let value = match value {
                AttributeValue::Boolean(value) => json!(value),
                AttributeValue::Integer(value) => json!(value),
                AttributeValue::String(text) => json!(text.as_str()),
                AttributeValue::Binary(bytes) => json!({"binary": STANDARD.encode(bytes)}),
                AttributeValue::Uri(text) => json!({"uri": text.as_str()}),
                AttributeValue::UriRef(text) => json!({"uriref": text.as_str()}),
                AttributeValue::Timestamp(time) => json!({"timestamp": time.to_string()}),
                other => json!(other.to_string()),
            };
            (name.to_owned(), value)
        })
        .collect::<Map<_, _>>()
        .into()
}

pub(super) fn with_more(mut event: Event, more: &Map<String, Value>) -> Result<Event> {
    if let Some(subject) = more.get("subject").and_then(Value::as_str) {
        event = event.with_subject(subject);
    }
    if let Some(time) = more.get("time").and_then(Value::as_str) {
        event = event.with_time(time.parse()?);
    }
    for (name, value) in more
        .get("attributes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        event
            .attributes_mut()
            .set(name.as_str(), read_attribute(value)?)?;
    }
    Ok(event)
}

fn read_attribute(value: &Value) -> Result<AttributeValue> {
    let refuse = || Error::new(ErrorKind::Corrupt, "an attribute's value does not decode");
    Ok(match value {
        Value::Bool(value) => (*value).into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .ok_or_else(refuse)?
            .into(),
        Value::Object(typed) => {
            let (name, text) = typed.iter().next().ok_or_else(refuse)?;
            let text = text.as_str().ok_or_else(refuse)?;
            match name.as_str() {
                "uri" => AttributeValue::Uri(text.into()),
                "uriref" => AttributeValue::UriRef(text.into()),
                "timestamp" => AttributeValue::Timestamp(text.parse()?),
                "binary" => Bytes::from(STANDARD.decode(text).map_err(|_| refuse())?).into(),
                _ => return Err(refuse()),
            }
        }
        _ => return Err(refuse()),
    })
}

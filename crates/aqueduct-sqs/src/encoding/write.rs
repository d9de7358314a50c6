use aqueduct_core::{AttributeValue, Event, cloudevents::json};
use aws_sdk_sqs::types::MessageAttributeValue;

use super::{
    CONTENT_TYPE, Encoded, MOST_ATTRIBUTES, TYPES, VERSION, attribute, is_character, is_text,
};

/// Encodes an event: in message attributes if they suffice, otherwise in the structured format.
pub(crate) fn encode(event: &Event) -> Encoded {
    binary(event).unwrap_or_else(|| structured(event))
}

/// Encodes the data as the body and the rest as message attributes.
fn binary(event: &Event) -> Option<Encoded> {
    let body = std::str::from_utf8(event.data()?).ok()?;
    if body.is_empty() || !is_text(body) {
        return None;
    }
    let mut attributes = Vec::with_capacity(MOST_ATTRIBUTES);
    let mut put = |name: &str, value: MessageAttributeValue| {
        attributes.push((name.to_owned(), value));
        (attributes.len() <= MOST_ATTRIBUTES).then_some(())
    };
    let text = |value: &str| {
        (!value.is_empty() && is_text(value))
            .then(|| attribute("String", Some(value.to_owned()), None))?
    };
    put(VERSION, text("1.0")?)?;
    put("ce-id", event.id().with_str(text)?)?;
    for (name, value) in [
        ("ce-source", Some(event.source())),
        ("ce-type", Some(event.kind())),
        ("ce-subject", event.subject()),
        ("ce-partitionkey", event.key()),
        ("ce-dataschema", event.schema()),
        (CONTENT_TYPE, event.content_type()),
    ] {
        if let Some(value) = value {
            put(name, text(value)?)?;
        }
    }
    if let Some(time) = event.time() {
        put("ce-time", text(&time.to_string())?)?;
    }
    for (name, value) in event.attributes().iter() {
        let encoded = match value {
            AttributeValue::Binary(bytes) if !bytes.is_empty() => {
                attribute("Binary", None, Some(bytes.to_vec()))?
            }
            AttributeValue::Binary(_) => return None,
            value => {
                let plain = value.to_string();
                if plain.is_empty() || !is_text(&plain) {
                    return None;
                }
                let data_type = match type_of(value)? {
                    "string" => "String".to_owned(),
                    other => format!("String.{other}"),
                };
                attribute(&data_type, Some(plain), None)?
            }
        };
        put(&format!("ce-{name}"), encoded)?;
    }
    Some(Encoded {
        body: body.to_owned(),
        attributes,
    })
}

/// Encodes the whole event in the JSON format of CloudEvents.
pub(crate) fn structured(event: &Event) -> Encoded {
    let mut body = Vec::new();
    json::encode(event, &mut body);
    let body = String::from_utf8_lossy(&body).into_owned();
    // JSON allows these characters unescaped, the service rejects them.
    let body = match is_text(&body) {
        true => body,
        false => body
            .chars()
            .map(|c| match is_character(c) {
                true => c.to_string(),
                false => format!("\\u{:04x}", u32::from(c)),
            })
            .collect(),
    };
    let content_type = attribute("String", Some(json::CONTENT_TYPE.to_owned()), None);
    let lost: Vec<String> = event
        .attributes()
        .iter()
        .filter_map(|(name, value)| match type_of(value)? {
            "string" | "boolean" | "integer" => None,
            of => Some(format!("{name}={of}")),
        })
        .collect();
    let types = (!lost.is_empty()).then(|| attribute("String", Some(lost.join(" ")), None));
    let attributes = [(CONTENT_TYPE, content_type), (TYPES, types.flatten())];
    Encoded {
        body,
        attributes: attributes
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
    }
}

fn type_of(value: &AttributeValue) -> Option<&'static str> {
    Some(match value {
        AttributeValue::String(_) => "string",
        AttributeValue::Boolean(_) => "boolean",
        AttributeValue::Integer(_) => "integer",
        AttributeValue::Binary(_) => "binary",
        AttributeValue::Uri(_) => "uri",
        AttributeValue::UriRef(_) => "urireference",
        AttributeValue::Timestamp(_) => "timestamp",
        _ => return None,
    })
}

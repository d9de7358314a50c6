use bytes::Bytes;

use super::fault::{Quoted, invalid};
use crate::event::check_attribute_name;
use crate::{AttributeValue, Event, Result, SmallStr, Timestamp};

/// The value of an attribute as a format carries it.
pub(super) enum Value<'a> {
    Boolean(bool),
    Integer(i32),
    String(&'a str),
    Binary(Bytes),
    Uri(&'a str),
    UriRef(&'a str),
    Timestamp(Timestamp),
}

impl Value<'_> {
    fn into_attribute(self) -> AttributeValue {
        match self {
            Self::Boolean(value) => AttributeValue::Boolean(value),
            Self::Integer(value) => AttributeValue::Integer(value),
            Self::String(text) => AttributeValue::String(text.into()),
            Self::Binary(bytes) => AttributeValue::Binary(bytes),
            Self::Uri(text) => AttributeValue::Uri(text.into()),
            Self::UriRef(text) => AttributeValue::UriRef(text.into()),
            Self::Timestamp(time) => AttributeValue::Timestamp(time),
        }
    }

    fn into_text(self, name: &str) -> Result<SmallStr> {
        match self {
            Self::String(text) | Self::Uri(text) | Self::UriRef(text) => Ok(text.into()),
            _ => Err(invalid(format_args!("`{name}` is not a string"))),
        }
    }

    fn into_time(self, name: &str) -> Result<Timestamp> {
        match self {
            Self::Timestamp(time) => Ok(time),
            Self::String(text) => text.parse().map_err(|_| {
                invalid(format_args!(
                    "`{name}` is not an RFC 3339 timestamp: {}",
                    Quoted(text)
                ))
            }),
            _ => Err(invalid(format_args!("`{name}` is not a time"))),
        }
    }
}

/// Sets an optional or extension attribute of `event`. Returns whether it replaced one of that name.
pub(super) fn assign(event: &mut Event, name: &str, value: Value<'_>) -> Result<bool> {
    let text = match name {
        "subject" => &mut event.subject,
        "datacontenttype" => &mut event.content_type,
        "dataschema" => &mut event.schema,
        "partitionkey" => {
            // Some encoders write a number here, though the extension specifies a string.
            let key = match value {
                Value::String(text) => text.into(),
                other => other.into_attribute().to_string().into(),
            };
            return Ok(event.key.replace(key).is_some());
        }
        "time" => {
            let is_known = event.time().is_some();
            event.set_time(Some(value.into_time(name)?));
            return Ok(is_known);
        }
        _ => {
            if let Err(error) = check_attribute_name(name) {
                return Err(invalid(format_args!(
                    "attribute {}: {}",
                    Quoted(name),
                    error.message()
                )));
            }
            let replaced = event.attributes.get(name).is_some();
            event
                .attributes
                .set_checked(name.into(), value.into_attribute());
            return Ok(replaced);
        }
    };
    Ok(text.replace(value.into_text(name)?).is_some())
}

/// Refuses an event that lacks a required attribute.
pub(super) fn check_required(event: &Event) -> Result<()> {
    for (missing, name) in [
        (event.id.is_empty(), "id"),
        (event.source.is_empty(), "source"),
        (event.kind.is_empty(), "type"),
    ] {
        if missing {
            return Err(invalid(format_args!("`{name}` is missing or empty")));
        }
    }
    Ok(())
}

/// Refuses any version but 1.0.
pub(super) fn check_version(version: &str) -> Result<()> {
    match version {
        "1.0" => Ok(()),
        "" => Err(invalid("`specversion` is missing")),
        other => Err(invalid(format_args!(
            "`specversion` is {} (expected `1.0`)",
            Quoted(other)
        ))),
    }
}

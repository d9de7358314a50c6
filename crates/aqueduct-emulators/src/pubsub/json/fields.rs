use std::collections::HashMap;

use serde_json::Value;
use tonic::Status;

use super::super::machine::{duration, proto_duration};

pub(super) fn invalid(field: &str, expected: &str) -> Status {
    Status::invalid_argument(format!("Invalid value at `{field}`: expected {expected}."))
}

pub(super) fn text(body: &Value, field: &str) -> Result<String, Status> {
    match &body[field] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        _ => Err(invalid(field, "a string")),
    }
}

pub(super) fn flag(body: &Value, field: &str) -> Result<bool, Status> {
    match &body[field] {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(invalid(field, "true or false")),
    }
}

pub(in crate::pubsub) fn number(body: &Value, field: &str) -> Result<i32, Status> {
    let number = match &body[field] {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        other => other.as_i64().and_then(|number| i32::try_from(number).ok()),
    };
    number.ok_or_else(|| invalid(field, "an integer of 32 bits"))
}

pub(super) fn map(body: &Value, field: &str) -> Result<HashMap<String, String>, Status> {
    let fields = match &body[field] {
        Value::Null => return Ok(HashMap::new()),
        Value::Object(fields) => fields,
        _ => return Err(invalid(field, "an object of strings")),
    };
    let pairs = fields.iter().map(|(key, value)| match value {
        Value::String(value) => Ok((key.clone(), value.clone())),
        _ => Err(invalid(field, "an object of strings")),
    });
    pairs.collect()
}

pub(super) fn texts(body: &Value, field: &str) -> Result<Vec<String>, Status> {
    let items = match &body[field] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        _ => return Err(invalid(field, "an array of strings")),
    };
    let items = items.iter().map(|item| item.as_str().map(str::to_owned));
    items
        .map(|item| item.ok_or_else(|| invalid(field, "an array of strings")))
        .collect()
}

pub(in crate::pubsub) fn ack_ids(body: &Value) -> Result<Vec<String>, Status> {
    texts(body, "ackIds")
}

/// Reads a duration such as `1.5s`.
pub(super) fn seconds(body: &Value, field: &str) -> Result<Option<prost_types::Duration>, Status> {
    let expected = "a duration such as `600s`";
    let text = match &body[field] {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        _ => return Err(invalid(field, expected)),
    };
    let number = text
        .strip_suffix('s')
        .and_then(|number| number.parse::<f64>().ok());
    let read = number.and_then(|number| std::time::Duration::try_from_secs_f64(number).ok());
    read.map(|it| Some(proto_duration(it)))
        .ok_or_else(|| invalid(field, expected))
}

pub(super) fn from_seconds(value: &prost_types::Duration) -> Value {
    let value = duration(value).unwrap_or_default();
    match value.subsec_nanos() {
        0 => format!("{}s", value.as_secs()).into(),
        nanos => format!("{}.{nanos:09}s", value.as_secs()).into(),
    }
}

use super::super::media::{self, Form, form};
use super::{PROTOBUF, TYPE_URL, field};
use crate::event::Written;
use crate::protobuf_wire::{bytes_size, number_size, put_bytes, put_length, put_number};
use crate::{AttributeValue, Event, Timestamp};

/// Appends `event` to `out`.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    out.reserve(event.approximate_size() + 64);
    event
        .id
        .with_str(|id| put_bytes(out, field::ID, id.as_bytes()));
    put_bytes(out, field::SOURCE, event.source.as_bytes());
    put_bytes(out, field::SPEC_VERSION, b"1.0");
    put_bytes(out, field::TYPE, event.kind.as_bytes());
    for (name, text, number) in [
        ("subject", &event.subject, field::CE_STRING),
        ("partitionkey", &event.key, field::CE_STRING),
        ("datacontenttype", &event.content_type, field::CE_STRING),
        ("dataschema", &event.schema, field::CE_URI),
    ] {
        if let Some(text) = text {
            put_attribute(out, name, Value::Bytes(number, text.as_bytes()));
        }
    }
    if let Some(time) = event.time() {
        put_attribute(out, "time", Value::Time(time));
    }
    for (name, value) in event.attributes.iter() {
        put_attribute(out, name, Value::of(value));
    }
    if let Some(data) = &event.data {
        put_data(out, event, data);
    }
}

/// Appends `events` to `out` as one batch.
pub fn encode_batch(events: &[Event], out: &mut Vec<u8>) {
    let mut one = Vec::new();
    for event in events {
        one.clear();
        encode(event, &mut one);
        put_bytes(out, field::EVENTS, &one);
    }
}

fn put_data(out: &mut Vec<u8>, event: &Event, data: &[u8]) {
    let content_type = event.content_type.as_deref();
    let is_text = || matches!(event.written, Written::Json) || std::str::from_utf8(data).is_ok();
    match content_type.map(form) {
        Some(Form::Json | Form::Text) if is_text() => {
            put_bytes(out, field::TEXT_DATA, data);
        }
        _ => match &event.schema {
            Some(schema)
                if schema.starts_with(TYPE_URL)
                    && content_type.is_some_and(|it| media::is(it, PROTOBUF)) =>
            {
                let size = bytes_size(schema.len()) + bytes_size(data.len());
                put_length(out, field::PROTO_DATA, size);
                put_bytes(out, field::ANY_TYPE_URL, schema.as_bytes());
                put_bytes(out, field::ANY_VALUE, data);
            }
            _ => put_bytes(out, field::BINARY_DATA, data),
        },
    }
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u32, u64),
    Bytes(u32, &'a [u8]),
    Time(Timestamp),
}

impl<'a> Value<'a> {
    fn of(value: &'a AttributeValue) -> Self {
        match value {
            AttributeValue::Boolean(it) => Self::Number(field::CE_BOOLEAN, u64::from(*it)),
            // Negative numbers are extended to 64 bits on the wire.
            AttributeValue::Integer(it) => Self::Number(field::CE_INTEGER, i64::from(*it) as u64),
            AttributeValue::String(it) => Self::Bytes(field::CE_STRING, it.as_bytes()),
            AttributeValue::Binary(it) => Self::Bytes(field::CE_BYTES, it),
            AttributeValue::Uri(it) => Self::Bytes(field::CE_URI, it.as_bytes()),
            AttributeValue::UriRef(it) => Self::Bytes(field::CE_URI_REF, it.as_bytes()),
            AttributeValue::Timestamp(it) => Self::Time(*it),
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Number(_, value) => number_size(value),
            Self::Bytes(_, bytes) => bytes_size(bytes.len()),
            Self::Time(time) => bytes_size(time_size(time)),
        }
    }
}

fn put_attribute(out: &mut Vec<u8>, name: &str, value: Value<'_>) {
    let size = value.size();
    put_length(
        out,
        field::ATTRIBUTES,
        bytes_size(name.len()) + bytes_size(size),
    );
    put_bytes(out, field::ENTRY_KEY, name.as_bytes());
    put_length(out, field::ENTRY_VALUE, size);
    match value {
        Value::Number(number, value) => put_number(out, number, value),
        Value::Bytes(number, bytes) => put_bytes(out, number, bytes),
        Value::Time(time) => {
            let (seconds, nanos) = time_parts(time);
            put_length(out, field::CE_TIMESTAMP, time_size(time));
            if seconds != 0 {
                put_number(out, field::TIMESTAMP_SECONDS, seconds);
            }
            if nanos != 0 {
                put_number(out, field::TIMESTAMP_NANOS, nanos);
            }
        }
    }
}

fn time_size(time: Timestamp) -> usize {
    let (seconds, nanos) = time_parts(time);
    [seconds, nanos]
        .into_iter()
        .filter(|&it| it != 0)
        .map(number_size)
        .sum()
}

/// Returns seconds and nanoseconds as in `google.protobuf.Timestamp`: nanoseconds count forward.
fn time_parts(time: Timestamp) -> (u64, u64) {
    let nanos = time.subsec_nanos();
    match u64::try_from(nanos) {
        Ok(nanos) => (time.as_seconds() as u64, nanos),
        Err(_) => (
            (time.as_seconds() - 1) as u64,
            (1_000_000_000 + i64::from(nanos)) as u64,
        ),
    }
}

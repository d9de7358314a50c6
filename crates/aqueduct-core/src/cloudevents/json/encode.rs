use std::fmt;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::super::media::{Form, form};
use crate::{AttributeValue, Event};

/// Appends `event` to `out`, in one line where its data has none of its own.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    // Names and punctuation take about 130 bytes; Base64 is the only part that grows the data.
    out.reserve(event.approximate_size() + 128);
    out.extend_from_slice(br#"{"specversion":"1.0","id":"#);
    event.id.with_str(|id| put_string(out, id));
    out.extend_from_slice(br#","source":"#);
    put_string(out, &event.source);
    out.extend_from_slice(br#","type":"#);
    put_string(out, &event.kind);
    for (name, text) in [
        (&br#","subject":"#[..], &event.subject),
        (br#","partitionkey":"#, &event.key),
        (br#","dataschema":"#, &event.schema),
    ] {
        if let Some(text) = text {
            out.extend_from_slice(name);
            put_string(out, text);
        }
    }
    if let Some(time) = event.time {
        out.extend_from_slice(br#","time":"#);
        put_display(out, time);
    }
    for (name, value) in event.attributes.iter() {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        put_attribute(out, value);
    }
    if let Some(content_type) = &event.content_type {
        out.extend_from_slice(br#","datacontenttype":"#);
        put_string(out, content_type);
    }
    if let Some(data) = &event.data {
        put_data(out, data, event.content_type.as_deref());
    }
    out.push(b'}');
}

/// Appends `events` to `out` as one batch.
pub fn encode_batch(events: &[Event], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        encode(event, out);
    }
    out.push(b']');
}

fn put_data(out: &mut Vec<u8>, data: &[u8], content_type: Option<&str>) {
    match (content_type.map(form), std::str::from_utf8(data)) {
        (Some(Form::Json), Ok(text)) if is_json_value(text) => {
            out.extend_from_slice(br#","data":"#);
            out.extend_from_slice(data);
        }
        (Some(Form::Text), Ok(text)) => {
            out.extend_from_slice(br#","data":"#);
            put_string(out, text);
        }
        _ => {
            out.extend_from_slice(br#","data_base64":"#);
            put_base64(out, data);
        }
    }
}

/// Whether `text` can stand as it is: one JSON value and nothing around it.
fn is_json_value(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok_and(|value| value.get().len() == text.len())
}

fn put_attribute(out: &mut Vec<u8>, value: &AttributeValue) {
    match value {
        AttributeValue::Boolean(true) => out.extend_from_slice(b"true"),
        AttributeValue::Boolean(false) => out.extend_from_slice(b"false"),
        AttributeValue::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        AttributeValue::String(text) | AttributeValue::Uri(text) | AttributeValue::UriRef(text) => {
            put_string(out, text);
        }
        AttributeValue::Binary(bytes) => put_base64(out, bytes),
        AttributeValue::Timestamp(time) => put_display(out, *time),
    }
}

/// Text that needs no escapes.
fn put_display(out: &mut Vec<u8>, value: impl fmt::Display) {
    // Writing to memory does not fail.
    let _ = write!(out, "\"{value}\"");
}

fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    let length = bytes.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    // The room is exact, and too little room is the only error.
    let _ = STANDARD.encode_slice(bytes, &mut out[start..]);
    out.push(b'"');
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[clean..at]);
        clean = at + 1;
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let [high, low] = [byte >> 4, byte & 15].map(|half| HEX[usize::from(half)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
    }
    out.extend_from_slice(&bytes[clean..]);
    out.push(b'"');
}

/// What follows the backslash for each byte; 0 where none is needed.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

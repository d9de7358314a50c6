use std::fmt;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::super::media::{Form, form};
use crate::event::Written;
use crate::{AttributeValue, Event, EventId};

/// Appends `event` to `out`, without line breaks except those in its data.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    // Names and punctuation take about 130 bytes; Base64 is the only part that grows the data.
    out.reserve(event.approximate_size() + 128);
    out.extend_from_slice(br#"{"specversion":"1.0","id":"#);
    put_id(out, &event.id);
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
    if let Some(time) = event.time() {
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
        put_data(out, event, data);
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

fn put_id(out: &mut Vec<u8>, id: &EventId) {
    match id.as_uuid() {
        Some(uuid) => {
            out.push(b'"');
            let text = uuid.hyphenated();
            out.extend_from_slice(text.encode_lower(&mut Uuid::encode_buffer()).as_bytes());
            out.push(b'"');
        }
        None => id.with_str(|id| put_string(out, id)),
    }
}

fn put_data(out: &mut Vec<u8>, event: &Event, data: &[u8]) {
    let form = event.content_type.as_deref().map(form);
    let is_written = matches!(event.written, Written::Json);
    match form {
        Some(Form::Json) if is_written || is_json_value(data) => {
            out.extend_from_slice(br#","data":"#);
            out.extend_from_slice(data);
            return;
        }
        Some(Form::Text) => {
            if let Ok(text) = std::str::from_utf8(data) {
                out.extend_from_slice(br#","data":"#);
                return put_string(out, text);
            }
        }
        _ => {}
    }
    out.extend_from_slice(br#","data_base64":"#);
    put_base64(out, data);
}

/// Returns whether `data` can be embedded unchanged: one JSON value and nothing around it.
fn is_json_value(data: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(data).is_ok_and(|value| value.get().len() == data.len())
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

/// Appends text that needs no escapes.
fn put_display(out: &mut Vec<u8>, value: impl fmt::Display) {
    // Writing to memory does not fail.
    let _ = write!(out, "\"{value}\"");
}

fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    let length = bytes.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    // The buffer has the exact size, and too small a buffer is the only error.
    let _ = STANDARD.encode_slice(bytes, &mut out[start..]);
    out.push(b'"');
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    if is_clean(bytes) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
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

/// Returns whether no byte needs an escape, which is the common case; checks eight bytes at a time.
#[inline]
fn is_clean(bytes: &[u8]) -> bool {
    let (words, _) = bytes.as_chunks::<8>();
    let mut found = 0;
    for word in words {
        found |= escapes(u64::from_le_bytes(*word));
    }
    // Check the rest with a last word that overlaps the previous one.
    found |= match (bytes.last_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
        (Some(word), _, _) => escapes(u64::from_le_bytes(*word)),
        (None, Some(first), Some(last)) => {
            let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
            escapes(first << 32 | last)
        }
        _ => return bytes.iter().all(|&byte| ESCAPES[usize::from(byte)] == 0),
    };
    found == 0
}

/// Returns zero if none of eight bytes needs an escape.
#[inline]
fn escapes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let quote = word ^ (ONES * b'"' as u64);
    let slash = word ^ (ONES * b'\\' as u64);
    // A byte's highest bit is set if the subtraction underflowed.
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let slash = slash.wrapping_sub(ONES) & !slash;
    (control | quote | slash) & (ONES * 0x80)
}

/// The character after the backslash for each byte; 0 if the byte needs no escape.
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

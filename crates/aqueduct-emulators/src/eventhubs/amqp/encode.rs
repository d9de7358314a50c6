use bytes::{BufMut, BytesMut};

use super::Value;

impl Value {
    pub(in crate::eventhubs) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::U32(0) => out.put_u8(0x43),
            Self::U64(0) => out.put_u8(0x44),
            Self::Bool(value) => out.put_u8(if *value { 0x41 } else { 0x42 }),
            Self::U64(value) if *value < 256 => {
                out.put_u8(0x53);
                out.put_u8(*value as u8);
            }
            Self::List(items) if items.is_empty() => out.put_u8(0x45),
            Self::Described(it) => {
                out.put_u8(0);
                it.0.encode(out);
                it.1.encode(out);
            }
            other => {
                out.put_u8(other.constructor());
                other.encode_body(out);
            }
        }
    }

    /// Returns the widest constructor of the type, which any value of it can use.
    fn constructor(&self) -> u8 {
        match self {
            Self::Null => 0x40,
            Self::Bool(_) => 0x56,
            Self::U8(_) => 0x50,
            Self::U16(_) => 0x60,
            Self::U32(_) => 0x70,
            Self::U64(_) => 0x80,
            Self::I8(_) => 0x51,
            Self::I16(_) => 0x61,
            Self::I32(_) => 0x71,
            Self::I64(_) => 0x81,
            Self::F32(_) => 0x72,
            Self::F64(_) => 0x82,
            Self::Decimal(code, _) => *code,
            Self::Char(_) => 0x73,
            Self::Timestamp(_) => 0x83,
            Self::Uuid(_) => 0x98,
            Self::Binary(_) => 0xb0,
            Self::String(_) => 0xb1,
            Self::Symbol(_) => 0xb3,
            Self::List(_) => 0xd0,
            Self::Map(_) => 0xd1,
            Self::Array(_) => 0xf0,
            Self::Described(_) => 0x00,
        }
    }

    /// Writes the value without its constructor.
    fn encode_body(&self, out: &mut BytesMut) {
        match self {
            Self::Null => {}
            Self::Bool(value) => out.put_u8(u8::from(*value)),
            Self::U8(value) => out.put_u8(*value),
            Self::U16(value) => out.put_u16(*value),
            Self::U32(value) | Self::F32(value) | Self::Char(value) => out.put_u32(*value),
            Self::U64(value) | Self::F64(value) => out.put_u64(*value),
            Self::I8(value) => out.put_i8(*value),
            Self::I16(value) => out.put_i16(*value),
            Self::I32(value) => out.put_i32(*value),
            Self::I64(value) | Self::Timestamp(value) => out.put_i64(*value),
            Self::Decimal(_, bytes) => out.put_slice(bytes),
            Self::Uuid(bytes) => out.put_slice(bytes),
            Self::Binary(bytes) => put_variable(out, bytes),
            Self::String(text) | Self::Symbol(text) => put_variable(out, text.as_bytes()),
            Self::List(items) => put_compound(out, items.len(), |out| {
                for item in items {
                    item.encode(out);
                }
            }),
            Self::Map(entries) => put_compound(out, 2 * entries.len(), |out| {
                for (key, value) in entries {
                    key.encode(out);
                    value.encode(out);
                }
            }),
            Self::Array(items) => put_compound(out, items.len(), |out| put_array(out, items)),
            Self::Described(it) => it.1.encode_body(out),
        }
    }
}

fn put_variable(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

/// Writes size and count before what `items` writes.
fn put_compound(out: &mut BytesMut, count: usize, items: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    out.put_u32(count as u32);
    items(out);
    let size = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

fn put_array(out: &mut BytesMut, items: &[Value]) {
    let Some(first) = items.first() else {
        // An empty array still names the type of its items.
        out.put_u8(0xb3);
        return;
    };
    match first {
        Value::Described(it) => {
            out.put_u8(0);
            it.0.encode(out);
            out.put_u8(it.1.constructor());
        }
        plain => out.put_u8(plain.constructor()),
    }
    for item in items {
        item.encode_body(out);
    }
}

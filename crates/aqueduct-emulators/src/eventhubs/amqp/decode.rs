use std::fmt;

use bytes::{Buf, Bytes};

use super::Value;

/// Deeper values are refused: decoding recurses.
const MAX_DEPTH: usize = 32;

/// Bytes that are not a value of AMQP 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::eventhubs) enum DecodeError {
    Truncated,
    TooDeep,
    Constructor(u8),
    Text,
    Shape,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end inside a value"),
            Self::TooDeep => write!(f, "values are nested more than {MAX_DEPTH} deep"),
            Self::Constructor(code) => write!(f, "unknown constructor 0x{code:02x}"),
            Self::Text => f.write_str("a string is not valid UTF-8"),
            Self::Shape => f.write_str("a described list was expected"),
        }
    }
}

/// Reads values one after the other.
pub(in crate::eventhubs) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(in crate::eventhubs) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// Returns the bytes that are not read yet.
    pub(in crate::eventhubs) fn rest(&self) -> &Bytes {
        &self.bytes
    }

    pub(in crate::eventhubs) fn value(&mut self) -> Result<Value, DecodeError> {
        self.nested(MAX_DEPTH)
    }

    fn nested(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        match self.u8()? {
            0 => {
                let descriptor = self.nested(depth)?;
                let value = self.nested(depth)?;
                Ok(Value::Described(Box::new((descriptor, value))))
            }
            code => self.body(code, depth),
        }
    }

    /// Reads what follows the constructor `code`.
    fn body(&mut self, code: u8, depth: usize) -> Result<Value, DecodeError> {
        Ok(match code {
            0x40 => Value::Null,
            0x41 => Value::Bool(true),
            0x42 => Value::Bool(false),
            0x56 => Value::Bool(self.u8()? != 0),
            0x50 => Value::U8(self.u8()?),
            0x60 => Value::U16(u16::from_be_bytes(self.fixed()?)),
            0x70 => Value::U32(self.u32()?),
            0x52 => Value::U32(u32::from(self.u8()?)),
            0x43 => Value::U32(0),
            0x80 => Value::U64(u64::from_be_bytes(self.fixed()?)),
            0x53 => Value::U64(u64::from(self.u8()?)),
            0x44 => Value::U64(0),
            0x51 => Value::I8(i8::from_be_bytes(self.fixed()?)),
            0x61 => Value::I16(i16::from_be_bytes(self.fixed()?)),
            0x71 => Value::I32(i32::from_be_bytes(self.fixed()?)),
            0x54 => Value::I32(i32::from(i8::from_be_bytes(self.fixed()?))),
            0x81 => Value::I64(i64::from_be_bytes(self.fixed()?)),
            0x55 => Value::I64(i64::from(i8::from_be_bytes(self.fixed()?))),
            0x72 => Value::F32(self.u32()?),
            0x82 => Value::F64(u64::from_be_bytes(self.fixed()?)),
            0x74 => Value::Decimal(code, self.take(4)?),
            0x84 => Value::Decimal(code, self.take(8)?),
            0x94 => Value::Decimal(code, self.take(16)?),
            0x73 => Value::Char(self.u32()?),
            0x83 => Value::Timestamp(i64::from_be_bytes(self.fixed()?)),
            0x98 => Value::Uuid(self.fixed()?),
            0xa0 | 0xb0 => Value::Binary(self.variable(code == 0xb0)?),
            0xa1 | 0xb1 => Value::String(self.text(code == 0xb1)?),
            0xa3 | 0xb3 => Value::Symbol(self.text(code == 0xb3)?),
            0x45 => Value::List(Vec::new()),
            0xc0 | 0xd0 => Value::List(self.items(code == 0xd0, depth)?),
            0xc1 | 0xd1 => {
                let mut items = self.items(code == 0xd1, depth)?.into_iter();
                let mut entries = Vec::with_capacity(items.len() / 2);
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    entries.push((key, value));
                }
                Value::Map(entries)
            }
            0xe0 | 0xf0 => Value::Array(self.array(code == 0xf0, depth)?),
            code => return Err(DecodeError::Constructor(code)),
        })
    }

    /// Reads the items of a list or map.
    fn items(&mut self, wide: bool, depth: usize) -> Result<Vec<Value>, DecodeError> {
        let (mut inner, count) = self.compound(wide)?;
        // The count is the peer's: reserve no more than the bytes can hold.
        let mut items = Vec::with_capacity(count.min(inner.bytes.len()));
        for _ in 0..count {
            items.push(inner.nested(depth)?);
        }
        Ok(items)
    }

    fn array(&mut self, wide: bool, depth: usize) -> Result<Vec<Value>, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        let (mut inner, count) = self.compound(wide)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut code = inner.u8()?;
        let mut descriptor = None;
        if code == 0 {
            descriptor = Some(inner.nested(depth)?);
            code = inner.u8()?;
        }
        let mut items = Vec::new();
        for _ in 0..count.min(MAX_ITEMS) {
            let item = inner.body(code, depth)?;
            items.push(match &descriptor {
                Some(descriptor) => Value::Described(Box::new((descriptor.clone(), item))),
                None => item,
            });
        }
        Ok(items)
    }

    /// Splits off the body of a compound value; returns it and the number of its items.
    fn compound(&mut self, wide: bool) -> Result<(Self, usize), DecodeError> {
        let mut inner = Self::new(self.variable(wide)?);
        let count = if wide {
            inner.u32()? as usize
        } else {
            usize::from(inner.u8()?)
        };
        Ok((inner, count))
    }

    fn text(&mut self, wide: bool) -> Result<String, DecodeError> {
        let bytes = self.variable(wide)?;
        String::from_utf8(bytes.into()).map_err(|_| DecodeError::Text)
    }

    fn variable(&mut self, wide: bool) -> Result<Bytes, DecodeError> {
        let length = if wide {
            self.u32()? as usize
        } else {
            usize::from(self.u8()?)
        };
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if self.bytes.len() < length {
            return Err(DecodeError::Truncated);
        }
        Ok(self.bytes.split_to(length))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let found = self.bytes.first_chunk().copied();
        let found = found.ok_or(DecodeError::Truncated)?;
        self.bytes.advance(N);
        Ok(found)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.fixed().map(u32::from_be_bytes)
    }
}

/// The most items of an array: those of some types take no bytes.
const MAX_ITEMS: usize = 1 << 20;

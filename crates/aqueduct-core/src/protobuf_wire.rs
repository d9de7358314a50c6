//! The wire encoding of Protobuf, safe on hostile input: memory follows from the input's length and
//! nesting is bounded. The formats that need it are small and read on hot paths, so there is no
//! generated code.

use std::fmt;

use crate::{Error, ErrorKind};

/// The deepest nesting of unknown groups, as in Protobuf's own libraries.
const MAX_GROUPS: usize = 100;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED_32: u8 = 5;

/// Returns the tag of a length-delimited field; `field` must be below 16.
pub const fn length_tag(field: u32) -> u8 {
    (field as u8) << 3 | LENGTH
}

/// Returns the tag of a varint field; `field` must be below 16.
pub const fn varint_tag(field: u32) -> u8 {
    (field as u8) << 3 | VARINT
}

/// Returns the size of a varint in bytes.
#[inline]
pub const fn varint_size(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Returns the size of a length-delimited field with a tag of one byte.
#[inline]
pub const fn bytes_size(length: usize) -> usize {
    1 + varint_size(length as u64) + length
}

/// Returns the size of a varint field with a tag of one byte.
#[inline]
pub const fn number_size(value: u64) -> usize {
    1 + varint_size(value)
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint field; `field` must be below 16.
#[inline]
pub fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    out.push(varint_tag(field));
    put_varint(out, value);
}

/// Appends the tag and length of a length-delimited field; `field` must be below 16.
#[inline]
pub fn put_length(out: &mut Vec<u8>, field: u32, length: usize) {
    out.push(length_tag(field));
    put_varint(out, length as u64);
}

/// Appends a length-delimited field; `field` must be below 16.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_length(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// The reason why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The message ends within a field.
    Truncated,
    /// A varint is longer than ten bytes or ends with the message.
    EndlessNumber,
    /// A field number is 0 or above 2^29.
    FieldNumber,
    /// A wire type is not defined, or ends a group that is not open.
    WireType(u8),
    /// A group has no end, or groups are nested too deep.
    EndlessGroup,
    /// A field has another type than the message defines.
    OtherType,
    /// A string is not UTF-8.
    NotUtf8,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it ends within a field",
            Self::EndlessNumber => "a number does not end",
            Self::FieldNumber => "a field has an invalid number",
            Self::WireType(other) => return write!(f, "a field is of wire type {other}"),
            Self::EndlessGroup => "a group (wire type 3) does not end or is nested too deep",
            Self::OtherType => "a field is of another type than the message defines",
            Self::NotUtf8 => "a string is not UTF-8",
        })
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(
            ErrorKind::Corrupt,
            format!("malformed Protobuf message: {malformed}"),
        )
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// A varint.
    Number(u64),
    /// A string, bytes or a nested message.
    Bytes(&'a [u8]),
    /// A value of a fixed size or a group, which is skipped.
    Other,
}

impl<'a> Field<'a> {
    /// Returns the number.
    ///
    /// # Errors
    /// [`Malformed::OtherType`] if the field is not a varint.
    pub fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(value) => Ok(value),
            _ => Err(Malformed::OtherType),
        }
    }

    /// Returns the bytes.
    ///
    /// # Errors
    /// [`Malformed::OtherType`] if the field is not length-delimited.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::OtherType),
        }
    }

    /// Returns the string.
    ///
    /// # Errors
    /// [`Malformed::OtherType`] if the field is not length-delimited, [`Malformed::NotUtf8`] if it
    /// is not UTF-8.
    pub fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::NotUtf8)
    }
}

/// Reads the fields of a message in order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Creates a reader of a message.
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// Returns the next field and its number; `None` at the end.
    ///
    /// # Errors
    /// [`Malformed`] if the rest is not a message.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "`?` reads better than an iterator of results"
    )]
    pub fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, kind) = self.tag()?;
        let field = match kind {
            VARINT => Field::Number(self.varint()?),
            LENGTH => Field::Bytes(self.bytes()?),
            _ => {
                self.skip(number, kind)?;
                Field::Other
            }
        };
        Ok(Some((number, field)))
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed::FieldNumber)?;
        match tag >> 3 {
            0 => Err(Malformed::FieldNumber),
            number => Ok((number, tag as u8 & 7)),
        }
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        self.take(usize::try_from(length).map_err(|_| Malformed::Truncated)?)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Tags, indices and most lengths are one byte.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed::EndlessNumber)
    }

    #[cold]
    fn skip(&mut self, number: u32, kind: u8) -> Result<(), Malformed> {
        match kind {
            VARINT => self.varint().map(drop),
            FIXED_64 => self.take(8).map(drop),
            LENGTH => self.bytes().map(drop),
            FIXED_32 => self.take(4).map(drop),
            GROUP => self.skip_group(number),
            other => Err(Malformed::WireType(other)),
        }
    }

    fn skip_group(&mut self, number: u32) -> Result<(), Malformed> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            if self.0.is_empty() {
                return Err(Malformed::EndlessGroup);
            }
            match self.tag()? {
                (number, GROUP_END) if number == innermost => drop(open.pop()),
                (number, GROUP) if open.len() < MAX_GROUPS => open.push(number),
                (_, GROUP | GROUP_END) => return Err(Malformed::EndlessGroup),
                (number, kind) => self.skip(number, kind)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<u32>, Malformed> {
        let mut fields = Fields::new(message);
        let mut numbers = Vec::new();
        while let Some((number, _)) = fields.next()? {
            numbers.push(number);
        }
        Ok(numbers)
    }

    #[test]
    fn written_fields_are_read_back() {
        let mut out = Vec::new();
        put_number(&mut out, 1, u64::MAX);
        put_bytes(&mut out, 2, "Grüße".as_bytes());
        let size = number_size(u64::MAX) + bytes_size("Grüße".len());
        assert_eq!(out.len(), size);
        let mut fields = Fields::new(&out);
        let (number, field) = fields.next().unwrap().unwrap();
        assert_eq!((number, field.number()), (1, Ok(u64::MAX)));
        let (number, field) = fields.next().unwrap().unwrap();
        assert_eq!((number, field.text()), (2, Ok("Grüße")));
        assert_eq!(field.number(), Err(Malformed::OtherType));
        assert!(fields.next().unwrap().is_none());
    }

    #[test]
    fn sizes_are_those_of_the_encoding() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::MAX / 2, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_size(value), "{value}");
        }
    }

    #[test]
    fn unknown_types_are_skipped() {
        // Eight bytes, four bytes, a group with a group in it, a number.
        let message = b"\x09........\x15....\x1b\x23\x08\x01\x24\x1c\x28\x01";
        assert_eq!(all(message), Ok(vec![1, 2, 3, 5]));
    }

    #[test]
    fn hostile_messages_are_refused() {
        for (message, expected) in [
            (&b"\x0a\x05a"[..], Malformed::Truncated),
            (
                b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                Malformed::Truncated,
            ),
            (b"\x08\xff", Malformed::EndlessNumber),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                Malformed::EndlessNumber,
            ),
            (b"\x00\x01", Malformed::FieldNumber),
            (b"\xff\xff\xff\xff\x7f\x01", Malformed::FieldNumber),
            (b"\x0e", Malformed::WireType(6)),
            (b"\x0c", Malformed::WireType(4)),
            (b"\x0b", Malformed::EndlessGroup),
            (b"\x0b\x14", Malformed::EndlessGroup),
            (&[0x0b; 200], Malformed::EndlessGroup),
        ] {
            assert_eq!(all(message), Err(expected), "{message:x?}");
        }
    }
}

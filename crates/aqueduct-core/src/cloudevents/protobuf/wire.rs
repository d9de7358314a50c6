//! The Protobuf encoding, as far as these messages need it: every field number is below 16, so a
//! tag is one byte.

use super::super::fault::corrupt;
use crate::Result;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED_32: u8 = 5;

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    out.push((field as u8) << 3 | VARINT);
    put_varint(out, value);
}

/// Begins a field of that many bytes.
pub(super) fn put_length(out: &mut Vec<u8>, field: u32, length: usize) {
    out.push((field as u8) << 3 | LENGTH);
    put_varint(out, length as u64);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_length(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// How many bytes the field of that number takes.
pub(super) fn number_size(value: u64) -> usize {
    1 + varint_size(value)
}

/// How many bytes a field of `length` bytes takes.
pub(super) fn bytes_size(length: usize) -> usize {
    1 + varint_size(length as u64) + length
}

fn varint_size(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// The value of one field.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a type that none of these messages uses.
    Other,
}

impl<'a> Field<'a> {
    pub(super) fn number(self) -> Result<u64> {
        match self {
            Self::Number(value) => Ok(value),
            _ => Err(wrong_type()),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong_type()),
        }
    }

    pub(super) fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| corrupt("a string is not UTF-8"))
    }
}

/// Reads the fields of one message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field and its number; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 {
            return Err(corrupt("a field has an invalid number"));
        }
        let field = match tag as u8 & 7 {
            VARINT => Field::Number(self.varint()?),
            LENGTH => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Field::Bytes(self.take(length)?)
            }
            FIXED_32 => self.take(4).map(|_| Field::Other)?,
            FIXED_64 => self.take(8).map(|_| Field::Other)?,
            other => {
                return Err(corrupt(format_args!("a field is of wire type {other}")));
            }
        };
        Ok(Some((number, field)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.0.split_at_checked(length) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => Err(corrupt("it ends within a field")),
        }
    }

    fn varint(&mut self) -> Result<u64> {
        // Tags and most lengths are one byte.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(corrupt("a number does not end"))
    }
}

fn wrong_type() -> crate::Error {
    corrupt("a field is of another type than the message defines")
}

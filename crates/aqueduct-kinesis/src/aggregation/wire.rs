//! The part of the Protobuf encoding that aggregates need, safe on hostile input.

use super::BrokenAggregate;

/// The deepest nesting of unknown groups, as in Protobuf's own libraries.
const MAX_GROUPS: usize = 100;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED_32: u8 = 5;

/// Returns the tag byte of a length-delimited field.
pub(super) const fn length_tag(field: u8) -> u8 {
    field << 3 | LENGTH
}

/// Returns the tag byte of a varint field.
pub(super) const fn varint_tag(field: u8) -> u8 {
    field << 3 | VARINT
}

#[inline]
pub(super) const fn varint_size(value: usize) -> usize {
    (70 - (value as u64 | 1).leading_zeros() as usize) / 7
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of one of the types that aggregates use.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    Varint(u32, u64),
    Bytes(u32, &'a [u8]),
}

/// Reads the fields of a message and skips those of other types.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// Returns the next field; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, BrokenAggregate> {
        while !self.0.is_empty() {
            let (number, kind) = self.tag()?;
            match kind {
                VARINT => return Ok(Some(Field::Varint(number, self.varint()?))),
                LENGTH => return Ok(Some(Field::Bytes(number, self.bytes()?))),
                _ => self.skip(number, kind)?,
            }
        }
        Ok(None)
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), BrokenAggregate> {
        let tag = u32::try_from(self.varint()?).map_err(|_| BrokenAggregate::Malformed)?;
        match tag >> 3 {
            0 => Err(BrokenAggregate::Malformed),
            number => Ok((number, tag as u8 & 7)),
        }
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], BrokenAggregate> {
        let length = self.varint()?;
        self.take(usize::try_from(length).map_err(|_| BrokenAggregate::Malformed)?)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], BrokenAggregate> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(BrokenAggregate::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, BrokenAggregate> {
        // Tags, indices and most lengths are one byte.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, BrokenAggregate> {
        let mut value = 0u64;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(BrokenAggregate::Malformed)
    }

    #[cold]
    fn skip(&mut self, number: u32, kind: u8) -> Result<(), BrokenAggregate> {
        match kind {
            VARINT => self.varint().map(drop),
            FIXED_64 => self.take(8).map(drop),
            LENGTH => self.bytes().map(drop),
            FIXED_32 => self.take(4).map(drop),
            GROUP => self.skip_group(number),
            _ => Err(BrokenAggregate::Malformed),
        }
    }

    fn skip_group(&mut self, number: u32) -> Result<(), BrokenAggregate> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            match self.tag()? {
                (number, GROUP_END) if number == innermost => drop(open.pop()),
                (number, GROUP) if open.len() < MAX_GROUPS => open.push(number),
                (_, GROUP | GROUP_END) => return Err(BrokenAggregate::Malformed),
                (number, kind) => self.skip(number, kind)?,
            }
        }
        Ok(())
    }
}

use std::borrow::Cow;
use std::vec;

use aqueduct_core::{Error, ErrorKind, Result, Timestamp};
use aws_sdk_kinesis::types::Record;
use aws_smithy_types::body::SdkBody;
use base64_simd::{AsOut as _, STANDARD};
use bytes::{Bytes, BytesMut};

use super::convert::timestamp;

/// The service's limit of records per response.
pub(super) const MAX_RECORDS: usize = 10_000;

/// The data of small records shares blocks of this size: one allocation for dozens of records. An
/// event that is kept keeps its whole block in memory, so a block is small.
const BLOCK: usize = 8 * 1024;

/// Larger data gets an allocation of its own.
const SMALL: usize = 1024;

/// The records of one response, each decoded when it is taken.
pub(super) enum Records {
    /// In the text of the response.
    InText(InText),
    /// As the service's client decoded them.
    Made(vec::IntoIter<Record>),
}

/// One record as the service stores it.
pub(super) struct Raw<'a> {
    pub(super) sequence: Cow<'a, str>,
    pub(super) partition_key: Cow<'a, str>,
    pub(super) stored_at: Option<Timestamp>,
    pub(super) data: Bytes,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::InText(records) => records.entries.len(),
            Self::Made(records) => records.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of data and partition keys, including those of records already taken.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::InText(records) => records.bytes,
            Self::Made(records) => {
                let bytes = |it: &Record| {
                    it.data.as_ref().len() + it.partition_key.as_deref().unwrap_or_default().len()
                };
                records.as_slice().iter().map(bytes).sum()
            }
        }
    }

    /// Returns the sequence number of the first record not yet taken.
    pub(super) fn first(&self) -> Option<&str> {
        match self {
            Self::InText(records) => records.sequence(records.entries.as_slice().first()?),
            Self::Made(records) => records.as_slice().first().map(Record::sequence_number),
        }
    }

    /// Returns the sequence number of the last record not yet taken.
    pub(super) fn last(&self) -> Option<&str> {
        match self {
            Self::InText(records) => records.sequence(records.entries.as_slice().last()?),
            Self::Made(records) => records.as_slice().last().map(Record::sequence_number),
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// `Corrupt` if its data is not valid Base64.
    pub(super) fn next(&mut self) -> Option<Result<Raw<'_>>> {
        match self {
            Self::InText(records) => {
                let entry = records.entries.next()?;
                Some(records.make(entry))
            }
            Self::Made(records) => records.next().map(|record| Ok(record.into())),
        }
    }

    /// Takes the last record.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub(super) fn take_last(&mut self) -> Option<Result<Raw<'_>>> {
        match self {
            Self::InText(records) => {
                let entry = records.entries.next_back()?;
                Some(records.make(entry))
            }
            Self::Made(records) => records.next_back().map(|record| Ok(record.into())),
        }
    }
}

impl From<Record> for Raw<'_> {
    fn from(record: Record) -> Self {
        Self {
            stored_at: timestamp(record.approximate_arrival_timestamp.as_ref()),
            sequence: record.sequence_number.into(),
            partition_key: record.partition_key.unwrap_or_default().into(),
            data: record.data.into_inner().into(),
        }
    }
}

impl Default for Records {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<Record>> for Records {
    fn from(records: Vec<Record>) -> Self {
        Self::Made(records.into_iter())
    }
}

/// Records in the text of a response.
pub(super) struct InText {
    text: ResponseText,
    entries: vec::IntoIter<Entry>,
    bytes: usize,
    block: BytesMut,
}

struct ResponseText {
    body: SdkBody,
    /// Unescaped strings; spans beyond the end of the body refer to them.
    unescaped: String,
}

/// The offsets of the parts of a record.
#[derive(Clone, Copy)]
struct Entry {
    sequence: Span,
    partition_key: Span,
    data: Span,
    stored_at: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Span {
    from: usize,
    length: u32,
}

impl InText {
    /// Returns a builder that notes the offsets of records in `text`.
    pub(super) fn builder(text: &str) -> Builder<'_> {
        Builder {
            text,
            unescaped: String::new(),
            // Field names, sequence number and time alone take 200 bytes per record.
            entries: Vec::with_capacity((text.len() / 200).min(MAX_RECORDS)),
            bytes: 0,
        }
    }

    fn sequence(&self, entry: &Entry) -> Option<&str> {
        Some(self.text.part(entry.sequence))
    }

    fn make(&mut self, entry: Entry) -> Result<Raw<'_>> {
        let text = &self.text;
        Ok(Raw {
            data: decode(text.bytes(entry.data), &mut self.block)?,
            sequence: text.part(entry.sequence).into(),
            partition_key: text.part(entry.partition_key).into(),
            stored_at: entry.stored_at,
        })
    }
}

impl ResponseText {
    fn part(&self, span: Span) -> &str {
        // Never invalid: the span was taken from a string.
        std::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let body = self.body.bytes().unwrap_or_default();
        let (bytes, from) = match span.from.checked_sub(body.len()) {
            None => (body, span.from),
            Some(from) => (self.unescaped.as_bytes(), from),
        };
        let part = bytes.get(from..from + span.length as usize);
        part.unwrap_or_default()
    }
}

/// Notes the offsets of records.
pub(super) struct Builder<'a> {
    text: &'a str,
    unescaped: String,
    entries: Vec<Entry>,
    bytes: usize,
}

/// The offsets of records, without the text itself.
pub(super) struct Offsets {
    unescaped: String,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Builder<'_> {
    pub(super) fn push(
        &mut self,
        sequence: Cow<'_, str>,
        partition_key: Cow<'_, str>,
        data: Cow<'_, str>,
        stored_at: Option<f64>,
    ) {
        let padding = data.bytes().rev().take(2).filter(|it| *it == b'=').count();
        self.bytes += partition_key.len() + (data.len() / 4 * 3).saturating_sub(padding);
        let entry = Entry {
            sequence: self.span(sequence),
            partition_key: self.span(partition_key),
            data: self.span(data),
            // Rounded: the service has milliseconds, and the nearest float may be just below one.
            stored_at: stored_at.map(|at| Timestamp::from_millis((at * 1000.0).round() as i64)),
        };
        self.entries.push(entry);
    }

    pub(super) fn finish(self) -> Offsets {
        Offsets {
            unescaped: self.unescaped,
            entries: self.entries,
            bytes: self.bytes,
        }
    }

    fn span(&mut self, part: Cow<'_, str>) -> Span {
        let from = match &part {
            Cow::Borrowed(part) => part.as_ptr() as usize - self.text.as_ptr() as usize,
            Cow::Owned(part) => {
                self.unescaped.push_str(part);
                self.text.len() + self.unescaped.len() - part.len()
            }
        };
        Span {
            from,
            length: part.len() as u32,
        }
    }
}

impl Offsets {
    /// Combines the offsets with the `body` they refer to.
    pub(super) fn of(self, body: SdkBody) -> InText {
        InText {
            text: ResponseText {
                body,
                unescaped: self.unescaped,
            },
            entries: self.entries.into_iter(),
            bytes: self.bytes,
            block: BytesMut::new(),
        }
    }
}

fn decode(base64: &[u8], block: &mut BytesMut) -> Result<Bytes> {
    let broken = |_| {
        let message = "the data of a record in the service's response is not valid Base64";
        Error::new(ErrorKind::Corrupt, message)
    };
    let room = base64.len() / 4 * 3;
    if room > SMALL {
        let data = STANDARD.decode_to_vec(base64).map_err(broken)?;
        return Ok(data.into());
    }
    if block.capacity() < room {
        *block = BytesMut::with_capacity(BLOCK);
    }
    block.resize(room, 0);
    let decoded = STANDARD.decode(base64, block.as_mut().as_out());
    let length = decoded.map(|data| data.len());
    block.truncate(*length.as_ref().unwrap_or(&0));
    length.map_err(broken)?;
    Ok(block.split().freeze())
}

//! The encodings of AMQP 1.0 that a message needs (part 1, section 1.6).

/// Sections of a message, by their descriptors.
#[derive(Clone, Copy)]
pub(super) enum Section {
    MessageAnnotations = 0x72,
    Properties = 0x73,
    ApplicationProperties = 0x74,
    Data = 0x75,
}

pub(super) fn section(out: &mut Vec<u8>, section: Section) {
    out.extend_from_slice(&[0x00, 0x53, section as u8]);
}

pub(super) fn null(out: &mut Vec<u8>) {
    out.push(0x40);
}

pub(super) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0x41 } else { 0x42 });
}

pub(super) fn int(out: &mut Vec<u8>, value: i32) {
    match i8::try_from(value) {
        Ok(small) => out.extend_from_slice(&[0x54, small as u8]),
        Err(_) => {
            out.push(0x71);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

pub(super) fn timestamp(out: &mut Vec<u8>, millis: i64) {
    out.push(0x83);
    out.extend_from_slice(&millis.to_be_bytes());
}

pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    variable(out, 0xa1, text.as_bytes());
}

pub(super) fn symbol(out: &mut Vec<u8>, text: &str) {
    variable(out, 0xa3, text.as_bytes());
}

pub(super) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    variable(out, 0xa0, bytes);
}

/// Writes a value of variable width. The long form of a type has the short form's code plus 16.
fn variable(out: &mut Vec<u8>, code: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(length) => out.extend_from_slice(&[code, length]),
        Err(_) => {
            out.push(code + 0x10);
            out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// A list or a map that is being written: its size and count are known at the end.
pub(super) struct Compound {
    start: usize,
    count: u32,
}

/// The bytes of the long form: code, size and count.
const HEAD: usize = 9;

impl Compound {
    pub(super) fn list(out: &mut Vec<u8>) -> Self {
        Self::begin(out, 0xd0)
    }

    pub(super) fn map(out: &mut Vec<u8>) -> Self {
        Self::begin(out, 0xd1)
    }

    fn begin(out: &mut Vec<u8>, code: u8) -> Self {
        let start = out.len();
        out.push(code);
        out.extend_from_slice(&[0; HEAD - 1]);
        Self { start, count: 0 }
    }

    /// Counts one element of a list, or a name or a value of a map.
    pub(super) fn add(&mut self) {
        self.count += 1;
    }

    pub(super) fn end(self, out: &mut [u8]) {
        // The size includes the count.
        let size = (out.len() - self.start - HEAD + 4) as u32;
        let head = &mut out[self.start + 1..self.start + HEAD];
        head[..4].copy_from_slice(&size.to_be_bytes());
        head[4..].copy_from_slice(&self.count.to_be_bytes());
    }
}

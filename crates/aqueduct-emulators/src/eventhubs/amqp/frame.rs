use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{DecodeError, Reader, Value};

/// Descriptors of performatives, outcomes and types.
pub(in crate::eventhubs) mod codes {
    pub(in crate::eventhubs) const OPEN: u64 = 0x10;
    pub(in crate::eventhubs) const BEGIN: u64 = 0x11;
    pub(in crate::eventhubs) const ATTACH: u64 = 0x12;
    pub(in crate::eventhubs) const FLOW: u64 = 0x13;
    pub(in crate::eventhubs) const TRANSFER: u64 = 0x14;
    pub(in crate::eventhubs) const DISPOSITION: u64 = 0x15;
    pub(in crate::eventhubs) const DETACH: u64 = 0x16;
    pub(in crate::eventhubs) const END: u64 = 0x17;
    pub(in crate::eventhubs) const CLOSE: u64 = 0x18;
    pub(in crate::eventhubs) const ERROR: u64 = 0x1d;
    pub(in crate::eventhubs) const ACCEPTED: u64 = 0x24;
    pub(in crate::eventhubs) const REJECTED: u64 = 0x25;
    pub(in crate::eventhubs) const RELEASED: u64 = 0x26;
    pub(in crate::eventhubs) const MODIFIED: u64 = 0x27;
    pub(in crate::eventhubs) const SASL_MECHANISMS: u64 = 0x40;
    pub(in crate::eventhubs) const SASL_INIT: u64 = 0x41;
    pub(in crate::eventhubs) const SASL_OUTCOME: u64 = 0x44;

    /// Returns the number of fields of a performative.
    pub(super) fn fields(code: u64) -> usize {
        match code {
            OPEN => 10,
            BEGIN => 8,
            ATTACH => 14,
            FLOW | TRANSFER => 11,
            DISPOSITION => 6,
            DETACH => 3,
            SASL_OUTCOME => 2,
            _ => 1,
        }
    }
}

/// The eight bytes that begin a layer of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::eventhubs) enum Header {
    Amqp,
    Sasl,
}

impl Header {
    pub(in crate::eventhubs) const fn bytes(self) -> [u8; 8] {
        match self {
            Self::Amqp => *b"AMQP\x00\x01\x00\x00",
            Self::Sasl => *b"AMQP\x03\x01\x00\x00",
        }
    }
}

/// The fields of a performative, and the payload of a transfer.
#[derive(Clone, Debug)]
pub(in crate::eventhubs) struct Performative {
    pub(in crate::eventhubs) code: u64,
    fields: Vec<Value>,
    pub(in crate::eventhubs) payload: Bytes,
}

impl Performative {
    pub(in crate::eventhubs) fn new(code: u64, fields: Vec<Value>) -> Self {
        Self {
            code,
            fields,
            payload: Bytes::new(),
        }
    }

    /// Returns a field; `Null` where it is left out.
    pub(in crate::eventhubs) fn field(&self, index: usize) -> &Value {
        self.fields.get(index).unwrap_or(&Value::Null)
    }

    fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = reader.value()?;
        let Value::Described(it) = value else {
            return Err(DecodeError::Shape);
        };
        let (Some(code), Value::List(fields)) = (it.0.as_u64(), it.1) else {
            return Err(DecodeError::Shape);
        };
        Ok(Self {
            code,
            fields,
            payload: reader.rest().clone(),
        })
    }
}

/// A frame; without a performative it only shows that the peer is alive.
#[derive(Clone, Debug)]
pub(in crate::eventhubs) struct Frame {
    pub(in crate::eventhubs) channel: u16,
    pub(in crate::eventhubs) body: Option<Performative>,
}

impl Frame {
    pub(in crate::eventhubs) fn new(channel: u16, code: u64, fields: Vec<Value>) -> Self {
        Self {
            channel,
            body: Some(Performative::new(code, fields)),
        }
    }

    pub(in crate::eventhubs) fn empty() -> Self {
        Self {
            channel: 0,
            body: None,
        }
    }

    pub(in crate::eventhubs) fn encode(&self, out: &mut BytesMut) {
        let at = out.len();
        out.put_u32(0);
        out.put_u8(2);
        let sasl = self.body.as_ref().is_some_and(|it| it.code >= 0x40);
        out.put_u8(u8::from(sasl));
        out.put_u16(self.channel);
        if let Some(body) = &self.body {
            let mut fields = body.fields.clone();
            // Some clients index fields without looking at the length of the list.
            let full = codes::fields(body.code).max(fields.len());
            fields.resize(full, Value::Null);
            Value::described(body.code, Value::List(fields)).encode(out);
            out.put_slice(&body.payload);
        }
        let size = (out.len() - at) as u32;
        out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
}

/// Something a peer sent.
#[derive(Debug)]
pub(in crate::eventhubs) enum Incoming {
    Header(Header),
    Frame { frame: Frame, size: usize },
}

/// Cuts the bytes of a connection into frames.
#[derive(Debug, Default)]
pub(in crate::eventhubs) struct FrameReader {
    started: bool,
}

/// Frames above this are not waited for.
const LARGEST_FRAME: usize = 16 << 20;

impl FrameReader {
    /// Expects a protocol header next.
    pub(in crate::eventhubs) fn restart(&mut self) {
        self.started = false;
    }

    /// Takes a header or frame from the front of `buffer`; `None` until one is there whole.
    ///
    /// # Errors
    /// A description, if the bytes are not AMQP 1.0.
    pub(in crate::eventhubs) fn next(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Incoming>, String> {
        if buffer.len() < 8 {
            return Ok(None);
        }
        if !self.started {
            let bytes = buffer.split_to(8);
            let header = [Header::Amqp, Header::Sasl];
            let header = header.into_iter().find(|it| it.bytes()[..] == bytes[..]);
            let header = header
                .ok_or_else(|| format!("expected a header of AMQP 1.0, got {:02x?}", &bytes[..]))?;
            self.started = true;
            return Ok(Some(Incoming::Header(header)));
        }
        let size = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
        if !(8..=LARGEST_FRAME).contains(&size) {
            return Err(format!("a frame of {size} bytes"));
        }
        if buffer.len() < size {
            buffer.reserve(size - buffer.len());
            return Ok(None);
        }
        let mut bytes = buffer.split_to(size).freeze();
        let offset = 4 * usize::from(bytes[4]);
        if offset < 8 || offset > size {
            return Err(format!("a frame with data offset {offset} of {size} bytes"));
        }
        let channel = u16::from_be_bytes([bytes[6], bytes[7]]);
        bytes.advance(offset);
        let body = if bytes.is_empty() {
            None
        } else {
            Some(Performative::decode(bytes).map_err(|error| error.to_string())?)
        };
        Ok(Some(Incoming::Frame {
            frame: Frame { channel, body },
            size,
        }))
    }
}

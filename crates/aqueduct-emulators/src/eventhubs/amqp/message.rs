use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{DecodeError, Reader, Value};

const HEADER: u64 = 0x70;
const DELIVERY_ANNOTATIONS: u64 = 0x71;
const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
const APPLICATION_PROPERTIES: u64 = 0x74;
const DATA: u64 = 0x75;
const VALUE: u64 = 0x77;
const FOOTER: u64 = 0x78;

/// A message cut at its annotations, so that the rest stays byte for byte what was sent.
#[derive(Clone, Debug, Default)]
pub(in crate::eventhubs) struct Message {
    /// The header section, encoded.
    header: Bytes,
    /// The message annotations.
    pub(in crate::eventhubs) annotations: Vec<(Value, Value)>,
    /// The sections after the annotations, encoded.
    rest: Bytes,
    pub(in crate::eventhubs) properties: Value,
    pub(in crate::eventhubs) application: Value,
    /// The body of an `amqp-value` section.
    pub(in crate::eventhubs) value: Value,
    /// The `data` sections.
    pub(in crate::eventhubs) data: Vec<Bytes>,
}

/// Bytes that are not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::eventhubs) enum ReadError {
    Decode(DecodeError),
    Section(Option<u64>),
    Empty,
    NotABatch,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::Section(Some(code)) => write!(f, "unexpected section 0x{code:02x}"),
            Self::Section(None) => f.write_str("a section without a numeric descriptor"),
            Self::Empty => f.write_str("the batch has no events"),
            Self::NotABatch => f.write_str("the body of a batch must be data sections"),
        }
    }
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// Reads one message.
pub(in crate::eventhubs) fn read_message(bytes: &Bytes) -> Result<Message, ReadError> {
    let mut reader = Reader::new(bytes.clone());
    let mut message = Message::default();
    let mut rest = None;
    while !reader.rest().is_empty() {
        let at = bytes.len() - reader.rest().len();
        let section = reader.value()?;
        let code = section.descriptor();
        let Value::Described(it) = section else {
            return Err(ReadError::Section(None));
        };
        let body = it.1;
        match code {
            Some(HEADER) => {
                message.header = bytes.slice(at..bytes.len() - reader.rest().len());
                continue;
            }
            // Those of the sender are for the service, not for the receiver.
            Some(DELIVERY_ANNOTATIONS) => continue,
            Some(MESSAGE_ANNOTATIONS) => {
                if let Value::Map(entries) = body {
                    message.annotations = entries;
                }
                continue;
            }
            Some(PROPERTIES) => message.properties = body,
            Some(APPLICATION_PROPERTIES) => message.application = body,
            Some(VALUE) => message.value = body,
            Some(DATA) => {
                if let Value::Binary(bytes) = body {
                    message.data.push(bytes);
                }
            }
            Some(0x76 | FOOTER) => {}
            other => return Err(ReadError::Section(other)),
        }
        rest.get_or_insert(at);
    }
    message.rest = bytes.slice(rest.unwrap_or(bytes.len())..);
    Ok(message)
}

/// Reads the events of a batch (message format 0x80013700), and its envelope.
pub(in crate::eventhubs) fn read_batch(
    bytes: &Bytes,
) -> Result<(Message, Vec<(Bytes, Message)>), ReadError> {
    let envelope = read_message(bytes)?;
    if envelope.value != Value::Null {
        return Err(ReadError::NotABatch);
    }
    if envelope.data.is_empty() {
        return Err(ReadError::Empty);
    }
    let mut events = Vec::with_capacity(envelope.data.len());
    for data in &envelope.data {
        events.push((data.clone(), read_message(data)?));
    }
    Ok((envelope, events))
}

impl Message {
    /// Returns a reply with an `amqp-value` body.
    pub(in crate::eventhubs) fn reply(
        to: &Self,
        application: Vec<(Value, Value)>,
        body: Value,
    ) -> Bytes {
        let mut out = BytesMut::new();
        // message-id, user-id, to, subject, reply-to, correlation-id
        let mut properties = vec![Value::Null; 5];
        properties.push(to.properties.field(0).clone());
        Value::described(PROPERTIES, Value::List(properties)).encode(&mut out);
        Value::described(APPLICATION_PROPERTIES, Value::Map(application)).encode(&mut out);
        Value::described(VALUE, body).encode(&mut out);
        out.freeze()
    }

    /// Returns an annotation.
    pub(in crate::eventhubs) fn annotation(&self, key: &str) -> Option<&Value> {
        let mut entries = self.annotations.iter();
        let found = entries.find(|(name, _)| name.as_str() == Some(key))?;
        Some(&found.1)
    }

    /// Encodes the message with `extra` annotations, which replace those of the sender. Returns
    /// the header section and the rest; delivery annotations belong between the two.
    pub(in crate::eventhubs) fn annotated(&self, extra: Vec<(&str, Value)>) -> (Bytes, Bytes) {
        let mut entries: Vec<_> = self.annotations.clone();
        entries.retain(|(name, _)| !extra.iter().any(|(key, _)| name.as_str() == Some(*key)));
        entries.extend(
            extra
                .into_iter()
                .map(|(key, value)| (Value::symbol(key), value)),
        );
        let mut out = BytesMut::with_capacity(self.rest.len() + 160);
        Value::described(MESSAGE_ANNOTATIONS, Value::Map(entries)).encode(&mut out);
        out.extend_from_slice(&self.rest);
        (self.header.clone(), out.freeze())
    }
}

/// Encodes a section of delivery annotations.
pub(in crate::eventhubs) fn delivery_annotations(entries: Vec<(&str, Value)>) -> Bytes {
    let entries = entries.into_iter();
    let entries = entries
        .map(|(key, value)| (Value::symbol(key), value))
        .collect();
    let mut out = BytesMut::new();
    Value::described(DELIVERY_ANNOTATIONS, Value::Map(entries)).encode(&mut out);
    out.freeze()
}

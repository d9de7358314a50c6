use bytes::Bytes;

use super::super::assign::{Value, assign, check_required, check_version};
use super::super::fault::{Quoted, invalid};
use super::{PROTOBUF, field};
use crate::protobuf_wire::Fields;
use crate::{Error, Event, EventId, Result, SmallStr, Timestamp};

/// Decodes one event. Its data shares the memory of `bytes`.
///
/// # Errors
/// `Corrupt` if `bytes` are not such a message; `Invalid`, naming the attribute, if they break a rule of
/// CloudEvents.
pub fn decode(bytes: &Bytes) -> Result<Event> {
    read_event(bytes, bytes)
}

/// Decodes a batch: all of its events, or an error that names the first invalid one.
///
/// # Errors
/// As for [`decode`].
pub fn decode_batch(bytes: &Bytes) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        if number == field::EVENTS {
            let event =
                (value.bytes().map_err(Error::from)).and_then(|message| read_event(bytes, message));
            let place = format_args!("event {} of the batch", events.len() + 1);
            events.push(event.map_err(|e| e.context(place))?);
        }
    }
    Ok(events)
}

/// Returns whether the message has a version in the format's field for it. A message that is
/// truncated in a later field still counts as one.
pub(in crate::cloudevents) fn claims_version(message: &[u8]) -> bool {
    let mut fields = Fields::new(message);
    while let Ok(Some((number, value))) = fields.next() {
        if number == field::SPEC_VERSION {
            let version = value.text().unwrap_or_default();
            let parts = version.split_once('.');
            let is_number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
            return parts.is_some_and(|(major, minor)| is_number(major) && is_number(minor));
        }
    }
    false
}

fn read_event(bytes: &Bytes, message: &[u8]) -> Result<Event> {
    let mut event = Event::empty();
    let mut version = "";
    let mut type_url = None;
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            field::ID => event.id = EventId::from(value.text()?),
            field::SOURCE => event.source = value.text()?.into(),
            field::SPEC_VERSION => version = value.text()?,
            field::TYPE => event.kind = value.text()?.into(),
            field::ATTRIBUTES => read_attribute(bytes, value.bytes()?, &mut event)?,
            // The last one wins, as Protobuf specifies for a oneof.
            field::BINARY_DATA => {
                event.data = Some(bytes.slice_ref(value.bytes()?));
                type_url = None;
            }
            field::TEXT_DATA => {
                event.data = Some(bytes.slice_ref(value.text()?.as_bytes()));
                type_url = None;
            }
            field::PROTO_DATA => {
                let (url, data) = read_any(value.bytes()?)?;
                event.data = Some(bytes.slice_ref(data));
                type_url = Some(url);
            }
            _ => {}
        }
    }
    check_version(version)?;
    check_required(&event)?;
    if let Some(url) = type_url {
        event.schema.get_or_insert_with(|| url.into());
        event
            .content_type
            .get_or_insert(SmallStr::literal(PROTOBUF));
    }
    Ok(event)
}

fn read_attribute(bytes: &Bytes, entry: &[u8], event: &mut Event) -> Result<()> {
    let mut name = "";
    let mut value = None;
    let mut fields = Fields::new(entry);
    while let Some((number, field)) = fields.next()? {
        match number {
            field::ENTRY_KEY => name = field.text()?,
            field::ENTRY_VALUE => value = read_value(bytes, field.bytes()?, name)?,
            _ => {}
        }
    }
    // Without a value it is unset, as `null` is in JSON.
    if let Some(value) = value {
        assign(event, name, value)?;
    }
    Ok(())
}

fn read_value<'a>(bytes: &Bytes, message: &'a [u8], name: &str) -> Result<Option<Value<'a>>> {
    let mut value = None;
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        value = Some(match number {
            field::CE_BOOLEAN => Value::Boolean(field.number()? != 0),
            field::CE_INTEGER => Value::Integer(field.number()? as i32),
            field::CE_STRING => Value::String(field.text()?),
            field::CE_BYTES => Value::Binary(bytes.slice_ref(field.bytes()?)),
            field::CE_URI => Value::Uri(field.text()?),
            field::CE_URI_REF => Value::UriRef(field.text()?),
            field::CE_TIMESTAMP => Value::Timestamp(read_time(field.bytes()?, name)?),
            _ => continue,
        });
    }
    Ok(value)
}

fn read_time(message: &[u8], name: &str) -> Result<Timestamp> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            field::TIMESTAMP_SECONDS => seconds = value.number()? as i64,
            field::TIMESTAMP_NANOS => nanos = value.number()? as i32,
            _ => {}
        }
    }
    Timestamp::from_parts(seconds, nanos).map_err(|_| {
        let name = Quoted(name);
        invalid(format_args!(
            "{name} is not a time between the years 0 and 9999"
        ))
    })
}

fn read_any(message: &[u8]) -> Result<(&str, &[u8])> {
    let (mut url, mut data) = ("", &message[message.len()..]);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            field::ANY_TYPE_URL => url = value.text()?,
            field::ANY_VALUE => data = value.bytes()?,
            _ => {}
        }
    }
    Ok((url, data))
}

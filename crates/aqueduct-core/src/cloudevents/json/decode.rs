use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::assign::{Value, assign, check_required, check_version};
use super::super::fault::{Quoted, corrupt, invalid};
use super::super::media::{Form, form};
use super::scan::{JsonText, Scan};
use crate::event::{describe_json_error, shared};
use crate::{Error, Event, EventId, Result, SmallStr};

/// Decodes one event. Its data shares the memory of `bytes` if it needs no unescaping.
///
/// # Errors
/// `Corrupt` if `bytes` are not a JSON object; `Invalid`, naming the attribute, if they break a rule of
/// CloudEvents.
pub fn decode(bytes: &Bytes) -> Result<Event> {
    let event = decode_unchecked(bytes)?;
    check_required(&event)?;
    Ok(event)
}

/// Decodes a batch: all of its events, or an error that names the first invalid one.
///
/// # Errors
/// As for [`decode`].
pub fn decode_batch(bytes: &Bytes) -> Result<Vec<Event>> {
    let fault = Cell::new(None);
    read(bytes, &fault, |deserializer| {
        deserializer.deserialize_seq(BatchVisitor(Reading {
            bytes,
            fault: &fault,
        }))
    })
}

/// Decodes one event that may lack required attributes, such as the event of a dead letter.
pub(crate) fn decode_unchecked(bytes: &Bytes) -> Result<Event> {
    match decode_plain(bytes) {
        Some(event) => Ok(event),
        None => decode_any(bytes),
    }
}

/// Decodes an event in the common form on a fast path. `None` for invalid or unusual input, which
/// [`decode_any`] handles.
pub(in crate::cloudevents) fn decode_plain(bytes: &Bytes) -> Option<Event> {
    let mut members = Members::new(bytes);
    let mut scan = Scan::new(std::str::from_utf8(bytes).ok()?);
    scan.object(|name, value| members.put(name, value).ok())?;
    scan.end()?;
    members.into_event().ok()
}

/// Decodes an event by all the rules of JSON, with a precise error.
pub(in crate::cloudevents) fn decode_any(bytes: &Bytes) -> Result<Event> {
    let fault = Cell::new(None);
    read(bytes, &fault, |deserializer| {
        Reading {
            bytes,
            fault: &fault,
        }
        .deserialize(deserializer)
    })
}

fn read<'de, T>(
    bytes: &'de Bytes,
    fault: &Cell<Option<Error>>,
    read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'de>>) -> Json<T>,
) -> Result<T> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| corrupt(format_args!("not UTF-8 after byte {}", e.valid_up_to())))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    read(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|e| {
            let fault = fault.take();
            fault.unwrap_or_else(|| corrupt(describe_json_error(&e)))
        })
}

type Json<T> = std::result::Result<T, serde_json::Error>;

/// Decodes one event from `bytes`. Its own errors are passed through a field, since serde's errors
/// carry only text.
#[derive(Clone, Copy)]
struct Reading<'a> {
    bytes: &'a Bytes,
    fault: &'a Cell<Option<Error>>,
}

impl Reading<'_> {
    fn fail<E: serde::de::Error>(&self, fault: Error) -> E {
        self.fault.set(Some(fault));
        E::custom("")
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'de> {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'de> {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut members = Members::new(self.bytes);
        while let Some(name) = map.next_key_seed(Name)? {
            let value = map.next_value::<&RawValue>()?.get();
            let value = JsonText::new(value);
            members.put(&name, value).map_err(|e| self.fail(e))?;
        }
        members.into_event().map_err(|e| self.fail(e))
    }
}

struct BatchVisitor<'a>(Reading<'a>);

impl<'de> Visitor<'de> for BatchVisitor<'de> {
    type Value = Vec<Event>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Event>, A::Error> {
        let mut events = Vec::new();
        loop {
            let place = |fault: Error| {
                fault.context(format_args!("event {} of the batch", events.len() + 1))
            };
            let event = match list.next_element_seed(self.0) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(events),
                Err(error) => match self.0.fault.take() {
                    Some(fault) => return Err(self.0.fail(place(fault))),
                    None => return Err(error),
                },
            };
            check_required(&event).map_err(|e| self.0.fail::<A::Error>(place(e)))?;
            events.push(event);
        }
    }
}

/// A member's name, borrowed if it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The members of one event that have been read so far.
struct Members<'de> {
    bytes: &'de Bytes,
    event: Event,
    has_version: bool,
    data: Option<JsonText<'de>>,
    base64: Option<JsonText<'de>>,
}

impl<'de> Members<'de> {
    fn new(bytes: &'de Bytes) -> Self {
        Self {
            bytes,
            event: Event::empty(),
            has_version: false,
            data: None,
            base64: None,
        }
    }

    fn put(&mut self, name: &str, value: JsonText<'de>) -> Result<()> {
        let twice = match name {
            "data" => self.data.replace(value).is_some(),
            _ if value.text == "null" => false,
            "data_base64" => self.base64.replace(value).is_some(),
            "specversion" => {
                check_version(&string(name, value)?)?;
                std::mem::replace(&mut self.has_version, true)
            }
            "id" => {
                let id = EventId::from(&*string(name, value)?);
                !std::mem::replace(&mut self.event.id, id).is_empty()
            }
            "source" => put_text(&mut self.event.source, name, value)?,
            "type" => put_text(&mut self.event.kind, name, value)?,
            _ => match scalar(name, value)? {
                Scalar::Boolean(it) => assign(&mut self.event, name, Value::Boolean(it))?,
                Scalar::Integer(it) => assign(&mut self.event, name, Value::Integer(it))?,
                Scalar::String(text) => assign(&mut self.event, name, Value::String(&text))?,
            },
        };
        match twice {
            false => Ok(()),
            true => Err(invalid(format_args!("{} is given twice", Quoted(name)))),
        }
    }

    fn into_event(mut self) -> Result<Event> {
        if !self.has_version {
            return check_version("").map(|()| self.event);
        }
        self.event.data = match (self.data, self.base64) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(invalid("both `data` and `data_base64` are given"));
            }
            (None, Some(base64)) => {
                let text = string("data_base64", base64)?;
                let bytes = STANDARD.decode(&*text);
                let bytes = bytes.map_err(|_| invalid("`data_base64` is not Base64"))?;
                Some(shared(bytes))
            }
            (Some(data), None) => self.data(data)?,
        };
        Ok(self.event)
    }

    fn data(&mut self, data: JsonText<'de>) -> Result<Option<Bytes>> {
        let content_type = self.event.content_type.get_or_insert(Event::JSON);
        if form(content_type) == Form::Json {
            return Ok(Some(self.bytes.slice_ref(data.text.as_bytes())));
        }
        if data.text == "null" {
            return Ok(None);
        }
        if !data.text.starts_with('"') {
            return Err(invalid(
                "`data` is not a string, and `datacontenttype` is not a JSON type",
            ));
        }
        Ok(Some(match string("data", data)? {
            Cow::Borrowed(text) => self.bytes.slice_ref(text.as_bytes()),
            Cow::Owned(text) => shared(text),
        }))
    }
}

fn put_text(place: &mut SmallStr, name: &str, value: JsonText<'_>) -> Result<bool> {
    let text = SmallStr::from(&*string(name, value)?);
    Ok(!std::mem::replace(place, text).is_empty())
}

enum Scalar<'a> {
    Boolean(bool),
    Integer(i32),
    String(Cow<'a, str>),
}

fn scalar<'a>(name: &str, value: JsonText<'a>) -> Result<Scalar<'a>> {
    match value.text.as_bytes().first() {
        Some(b'"') => Ok(Scalar::String(string(name, value)?)),
        Some(b't') => Ok(Scalar::Boolean(true)),
        Some(b'f') => Ok(Scalar::Boolean(false)),
        Some(b'{' | b'[') => Err(invalid(format_args!(
            "attribute {} is an object or a list (expected a single value)",
            Quoted(name)
        ))),
        _ => match value.text.parse() {
            Ok(number) => Ok(Scalar::Integer(number)),
            Err(_) => Err(invalid(format_args!(
                "attribute {} is {} (expected a whole number of 32 bits)",
                Quoted(name),
                Quoted(value.text)
            ))),
        },
    }
}

/// Reads a JSON string; borrowed if it has no escapes.
fn string<'a>(name: &str, value: JsonText<'a>) -> Result<Cow<'a, str>> {
    let inside = value
        .text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    match inside {
        None => Err(invalid(format_args!("{} is not a string", Quoted(name)))),
        Some(text) if value.plain => Ok(Cow::Borrowed(text)),
        Some(_) => serde_json::from_str(value.text)
            .map(Cow::Owned)
            .map_err(|_| {
                corrupt(format_args!(
                    "{} has an escape that is not a character",
                    Quoted(name)
                ))
            }),
    }
}

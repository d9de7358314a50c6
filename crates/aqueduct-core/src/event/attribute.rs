use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::shared;
use crate::{Error, ErrorKind, Result, SmallStr, Timestamp};

/// The value of an attribute: the types of CloudEvents 1.0, section "Type System".
///
/// ```
/// use aqueduct_core::{AttributeValue, Event};
///
/// let event = Event::new("order.placed")
///     .with_attribute("express", true)?
///     .with_attribute("terms", AttributeValue::Uri("https://example.com/terms".into()))?;
/// assert_eq!(event.attributes().get("express"), Some(&AttributeValue::Boolean(true)));
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttributeValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Unicode text.
    String(SmallStr),
    /// Bytes; Base64 as text.
    Binary(Bytes),
    /// An absolute URI.
    Uri(SmallStr),
    /// A URI reference.
    UriRef(SmallStr),
    /// A time; RFC 3339 as text.
    Timestamp(Timestamp),
}

impl AttributeValue {
    /// Returns the approximate size of the value in bytes.
    pub(super) fn approximate_size(&self) -> usize {
        match self {
            Self::String(text) | Self::Uri(text) | Self::UriRef(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Boolean(_) | Self::Integer(_) | Self::Timestamp(_) => 16,
        }
    }

    /// Returns the text if the value is text or a URI.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Uri(text) | Self::UriRef(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for AttributeValue {
    /// Writes the canonical string encoding of the specification.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => fmt::Display::fmt(value, f),
            Self::Integer(value) => fmt::Display::fmt(value, f),
            Self::String(text) | Self::Uri(text) | Self::UriRef(text) => f.write_str(text),
            Self::Binary(bytes) => f.write_str(&STANDARD.encode(bytes)),
            Self::Timestamp(time) => fmt::Display::fmt(time, f),
        }
    }
}

impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for AttributeValue {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<SmallStr> for AttributeValue {
    fn from(text: SmallStr) -> Self {
        Self::String(text)
    }
}

impl From<Bytes> for AttributeValue {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(shared(bytes))
    }
}

impl From<Timestamp> for AttributeValue {
    fn from(time: Timestamp) -> Self {
        Self::Timestamp(time)
    }
}

/// The attributes that are not part of every event (CloudEvents: extensions), sorted by name and
/// shared between clones.
///
/// ```
/// use aqueduct_core::{AttributeValue, Event};
///
/// let event = Event::new("order.placed").with_attribute("priority", 3)?;
/// assert_eq!(event.attributes().get("priority"), Some(&AttributeValue::Integer(3)));
/// assert!(Event::new("order.placed").with_attribute("Priority", 3).is_err());
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(Option<Arc<Vec<(SmallStr, AttributeValue)>>>);

impl Attributes {
    /// Returns the value of `name`.
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        let list = self.0.as_deref()?;
        let at = list
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
            .ok()?;
        list.get(at).map(|(_, value)| value)
    }

    /// Sets the value of `name`. A name consists of one or more of `a`-`z` and `0`-`9`, and must not
    /// be one that CloudEvents defines itself.
    pub fn set(
        &mut self,
        name: impl Into<SmallStr>,
        value: impl Into<AttributeValue>,
    ) -> Result<()> {
        let name = name.into();
        check_name(&name)?;
        self.set_checked(name, value.into());
        Ok(())
    }

    /// Removes the value of `name`.
    pub fn remove(&mut self, name: &str) -> Option<AttributeValue> {
        let list = Arc::make_mut(self.0.as_mut()?);
        let at = list
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
            .ok()?;
        Some(list.remove(at).1)
    }

    /// Returns names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &AttributeValue)> {
        self.0
            .as_deref()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Returns the number of attributes.
    pub fn len(&self) -> usize {
        self.iter().len()
    }

    /// Returns whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.as_deref().is_none_or(Vec::is_empty)
    }

    pub(crate) fn set_checked(&mut self, name: SmallStr, value: AttributeValue) {
        let list = Arc::make_mut(self.0.get_or_insert_default());
        match list.binary_search_by(|(known, _)| known.cmp(&name)) {
            Ok(at) => list[at].1 = value,
            Err(at) => list.insert(at, (name, value)),
        }
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The attributes that an event has as fields, under their names on the wire.
const FIELDS: [&str; 11] = [
    "id",
    "source",
    "type",
    "subject",
    "time",
    "partitionkey",
    "datacontenttype",
    "dataschema",
    "specversion",
    "data",
    "data_base64",
];

pub(crate) fn check_name(name: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new(
            ErrorKind::Invalid,
            format!("attribute `{name}`: {why}"),
        ))
    };
    if FIELDS.contains(&name) {
        return refuse("it is a field of the event: set it with the field's method");
    }
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    {
        return refuse("invalid name (expected a-z and 0-9, as CloudEvents 1.0 requires)");
    }
    Ok(())
}

mod attribute;
mod data;
mod generate;
mod id;
mod json_error;
mod lineage;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::attribute::check_name as check_attribute_name;
pub use self::attribute::{AttributeValue, Attributes};
pub(crate) use self::data::{Written, shared};
pub use self::id::EventId;
pub(crate) use self::json_error::describe_json_error;
use crate::{Error, ErrorKind, Result, SmallStr, Timestamp};

/// One event: a CloudEvents 1.0 event, with its key as a field.
///
/// `source` and `id` together are its idempotency key. Cloning allocates nothing: data is
/// reference counted, text is inline or shared. `Debug` shows the length of the data, never the
/// data.
///
/// ```
/// use aqueduct_core::Event;
///
/// let placed = Event::json("order.placed", &serde_json::json!({"total": "9.50"}))?.with_key("VINET");
/// let paid = Event::json("payment.succeeded", &"ok")?.caused_by(&placed, 0);
/// let again = Event::json("payment.succeeded", &"ok")?.caused_by(&placed, 0);
/// assert_eq!(paid.id(), again.id());
/// assert_eq!(paid.key(), Some("VINET"));
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Event {
    pub(crate) id: EventId,
    pub(crate) source: SmallStr,
    pub(crate) kind: SmallStr,
    pub(crate) subject: Option<SmallStr>,
    /// The epoch unless `has_time`; an `Option` would leave no padding for `written`.
    pub(crate) time: Timestamp,
    pub(crate) has_time: bool,
    pub(crate) key: Option<SmallStr>,
    pub(crate) content_type: Option<SmallStr>,
    pub(crate) schema: Option<SmallStr>,
    pub(crate) attributes: Attributes,
    pub(crate) data: Option<Bytes>,
    pub(crate) written: Written,
}

impl Event {
    /// The content type of JSON data.
    pub const JSON: SmallStr = SmallStr::literal("application/json");

    /// The type of an event that was read from a record that does not claim to be a CloudEvent.
    pub const FOREIGN: SmallStr = SmallStr::literal("io.aqueduct.foreign");

    /// The type of an event that was read from a damaged record, or from one that claims to be a
    /// CloudEvent and is not valid. A worker rejects it unless a handler names this very type.
    pub const DAMAGED: SmallStr = SmallStr::literal("io.aqueduct.damaged");

    /// The attribute that holds the reason why a record is damaged.
    pub const DAMAGE: SmallStr = SmallStr::literal("aqueductbroken");

    /// Creates an event of type `kind` with a new id, without data. Its source is the client's unless
    /// [`with_source`](Self::with_source) sets one.
    pub fn new(kind: impl Into<SmallStr>) -> Self {
        Self::with_id_and_type(EventId::generate(), kind.into())
    }

    /// Creates an event of type `kind` with `data` of that content type.
    pub fn bytes(
        kind: impl Into<SmallStr>,
        content_type: impl Into<SmallStr>,
        data: impl Into<Bytes>,
    ) -> Self {
        Self::new(kind)
            .with_content_type(content_type)
            .with_data(data)
    }

    /// Creates an event of type `kind` with `data` as JSON.
    ///
    /// # Errors
    /// `Invalid` if `data` does not serialize.
    pub fn json<T: Serialize + ?Sized>(kind: impl Into<SmallStr>, data: &T) -> Result<Self> {
        let mut event = Self::new(kind).with_content_type(Self::JSON);
        match data::to_json(data) {
            Ok(data) => (event.data, event.written) = (Some(data), Written::Json),
            Err(e) => return Err(no_json(&event.kind, std::any::type_name::<T>(), &e)),
        }
        Ok(event)
    }

    /// Creates the event for a record that does not claim to be a CloudEvent: its bytes unchanged, an
    /// id made of its place, and the type [`FOREIGN`](Self::FOREIGN).
    pub fn foreign(source: impl Into<SmallStr>, id: EventId, data: impl Into<Bytes>) -> Self {
        Self::with_id_and_type(id, Self::FOREIGN)
            .with_source(source)
            .with_data(data)
    }

    /// Makes a foreign event one of a damaged record: of type [`DAMAGED`](Self::DAMAGED), with the
    /// reason in the attribute [`DAMAGE`](Self::DAMAGE).
    #[must_use]
    pub fn damaged_by(mut self, reason: impl Into<SmallStr>) -> Self {
        self.kind = Self::DAMAGED;
        let reason = AttributeValue::String(reason.into());
        self.attributes.set_checked(Self::DAMAGE, reason);
        self
    }

    /// Returns why the record is damaged; `None` if that is not known, or if it is not damaged.
    pub fn damage(&self) -> Option<&str> {
        self.attributes.get(&Self::DAMAGE)?.as_str()
    }

    /// Sets the id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<EventId>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the source: a URI reference that names who made the event.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<SmallStr>) -> Self {
        self.source = source.into();
        self
    }

    /// Sets the source in place if there is none.
    pub fn stamp_source(&mut self, source: &SmallStr) {
        if self.source.is_empty() {
            self.source = source.clone();
        }
    }

    /// Sets the subject of the event within its source.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<SmallStr>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets the time at which it happened.
    #[must_use]
    pub fn with_time(mut self, time: Timestamp) -> Self {
        self.set_time(Some(time));
        self
    }

    pub(crate) fn set_time(&mut self, time: Option<Timestamp>) {
        (self.time, self.has_time) = (time.unwrap_or(Timestamp::EPOCH), time.is_some());
    }

    /// Sets the key: events of one key keep their order.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<SmallStr>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the media type of the data.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<SmallStr>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets the schema of the data, a URI.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<SmallStr>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Sets the data.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = Some(shared(data));
        self.written = Written::Elsewhere;
        self
    }

    /// Sets an attribute beyond the fields; see [`Attributes::set`].
    ///
    /// # Errors
    /// `Invalid` if CloudEvents does not allow the name.
    pub fn with_attribute(
        mut self,
        name: impl Into<SmallStr>,
        value: impl Into<AttributeValue>,
    ) -> Result<Self> {
        self.attributes.set(name, value)?;
        Ok(self)
    }

    /// Returns the id, which is unique within the source.
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// Returns the source; empty until a client sets its own.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the type, such as `order.placed` (CloudEvents: `type`).
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the subject within the source.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Returns when it happened.
    pub fn time(&self) -> Option<Timestamp> {
        self.has_time.then_some(self.time)
    }

    /// Returns the key: events of one key keep their order (CloudEvents: `partitionkey`).
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns the media type of the data (CloudEvents: `datacontenttype`).
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Returns the schema of the data (CloudEvents: `dataschema`).
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Returns the attributes beyond the fields (CloudEvents: extensions).
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Returns the attributes beyond the fields for modification.
    pub fn attributes_mut(&mut self) -> &mut Attributes {
        &mut self.attributes
    }

    /// Returns the data; `None` if there is none.
    pub fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }

    /// Decodes the data from JSON.
    ///
    /// # Errors
    /// `Corrupt`, with the line, column and cause, and without any of the data itself.
    pub fn decode_json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.data.as_deref().unwrap_or_default()).map_err(|e| {
            let what = format!(
                "event {} of type {}: its data does not decode: {}",
                self.id,
                self.kind,
                describe_json_error(&e)
            );
            Error::new(ErrorKind::Corrupt, what)
        })
    }

    /// Returns whether it was read from a record that does not claim to be a CloudEvent.
    pub fn is_foreign(&self) -> bool {
        self.kind == Self::FOREIGN
    }

    /// Returns the source as text that is cheap to clone.
    pub fn source_text(&self) -> &SmallStr {
        &self.source
    }

    /// Returns the type as text that is cheap to clone.
    pub fn kind_text(&self) -> &SmallStr {
        &self.kind
    }

    /// Returns the key as text that is cheap to clone.
    pub fn key_text(&self) -> Option<&SmallStr> {
        self.key.as_ref()
    }

    /// Returns the approximate size of the event in bytes, before any encoding.
    pub fn approximate_size(&self) -> usize {
        // Called for every event: unrolled, it costs half of a loop over the texts.
        let length = |text: &Option<SmallStr>| text.as_ref().map_or(0, |text| text.len());
        let texts = length(&self.subject)
            + length(&self.key)
            + length(&self.content_type)
            + length(&self.schema);
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, value)| name.len() + value.approximate_size())
            .sum();
        let data = self.data.as_ref().map_or(0, Bytes::len);
        64 + self.source.len() + self.kind.len() + texts + attributes + data
    }

    /// Checks what CloudEvents requires: id, source and type are not empty.
    ///
    /// # Errors
    /// `Invalid`, naming the missing attribute.
    pub fn validate(&self) -> Result<()> {
        let missing = [
            (self.id.is_empty(), "id"),
            (self.source.is_empty(), "source"),
            (self.kind.is_empty(), "type"),
        ];
        match missing.into_iter().find(|(missing, _)| *missing) {
            None => Ok(()),
            Some((_, name)) => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "event {}: its {name} is empty, and CloudEvents requires it",
                    self.id
                ),
            )),
        }
    }

    /// Returns a placeholder to leave where an event was taken from.
    pub(crate) fn empty() -> Self {
        Self::with_id_and_type(EventId::new(SmallStr::default()), SmallStr::default())
    }

    /// Restores an event of that id and type, for backends and codecs. Unlike [`new`](Self::new) it
    /// generates no id.
    pub fn with_id_and_type(id: EventId, kind: SmallStr) -> Self {
        Self {
            id,
            source: SmallStr::default(),
            kind,
            subject: None,
            time: Timestamp::EPOCH,
            has_time: false,
            key: None,
            content_type: None,
            schema: None,
            attributes: Attributes::default(),
            data: None,
            written: Written::Elsewhere,
        }
    }
}

#[cold]
fn no_json(kind: &str, data: &str, error: &serde_json::Error) -> Error {
    let what = format!(
        "the data of an event of type {kind}, a {data}, does not serialize to JSON: {}",
        describe_json_error(error)
    );
    Error::new(ErrorKind::Invalid, what)
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("type", &self.kind)
            .field("subject", &self.subject)
            .field("time", &self.time())
            .field("key", &self.key)
            .field("content_type", &self.content_type)
            .field("schema", &self.schema)
            .field("attributes", &self.attributes)
            .field("data_bytes", &self.data.as_ref().map(Bytes::len))
            .finish()
    }
}

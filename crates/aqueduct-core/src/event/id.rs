use std::fmt;

use uuid::Uuid;

use super::generate::uuid_v7;
use crate::SmallStr;

/// The id of an event: unique within its source, the second half of the idempotency key.
///
/// A UUID is stored inline in 16 bytes, any other text unchanged; both print as written. Generated
/// ids are UUIDv7: they sort by creation time.
///
/// ```
/// use aqueduct_core::EventId;
///
/// let own = EventId::new("order-7");
/// assert_eq!(own.to_string(), "order-7");
/// let (first, second) = (EventId::generate(), EventId::generate());
/// assert!(first.as_uuid().is_some() && first != second);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Uuid(Uuid),
    SmallStr(SmallStr),
}

impl EventId {
    /// Generates a UUIDv7; ids of one thread rise.
    pub fn generate() -> Self {
        Self(Repr::Uuid(uuid_v7()))
    }

    /// Creates an id from text. Only the canonical form of a UUID (36 lower-case characters) is
    /// stored as one, so that the text is preserved.
    pub fn new(text: impl Into<SmallStr>) -> Self {
        let text = text.into();
        match parse_canonical(&text) {
            Some(uuid) => Self(Repr::Uuid(uuid)),
            None => Self(Repr::SmallStr(text)),
        }
    }

    /// Returns the UUID if the id is one.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match &self.0 {
            Repr::Uuid(uuid) => Some(*uuid),
            Repr::SmallStr(_) => None,
        }
    }

    /// Calls `read` with the id's text, without allocating.
    pub fn with_str<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        match &self.0 {
            Repr::Uuid(uuid) => read(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            Repr::SmallStr(text) => read(text),
        }
    }

    /// Returns whether the id is empty; such an event is not valid.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Repr::SmallStr(text) if text.is_empty())
    }
}

impl From<Uuid> for EventId {
    fn from(uuid: Uuid) -> Self {
        Self(Repr::Uuid(uuid))
    }
}

impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        match parse_canonical(text) {
            Some(uuid) => Self(Repr::Uuid(uuid)),
            None => Self(Repr::SmallStr(text.into())),
        }
    }
}

impl From<String> for EventId {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_str(|text| f.write_str(text))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_str(|text| fmt::Debug::fmt(text, f))
    }
}

fn parse_canonical(text: &str) -> Option<Uuid> {
    let canonical = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if canonical {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_as_it_was() {
        for text in [
            "",
            "A234-1234-1234",
            "0190b1a4-7c3e-7000-8000-00000000ABCD",
            "é",
        ] {
            let id = EventId::new(text);
            assert_eq!(id.to_string(), text);
            assert_eq!(id.as_uuid(), None);
        }
        let made = EventId::generate();
        assert_eq!(EventId::new(made.to_string()), made);
        assert!(made.as_uuid().is_some());
    }
}

use std::borrow::Cow;
use std::fmt;

use aqueduct_core::{Event, SmallStr};

/// The field of an event that a rule looks at, the most specific first.
///
/// ```
/// use aqueduct_core::{Event, Route, Router};
/// use aqueduct_routing::{EventField, Rules, Targets};
///
/// let rules = Rules::new(Targets::Refuse).rule(EventField::Key, "VIP-*", "express")?;
/// let event = Event::new("order.placed").with_key("VIP-7");
/// assert_eq!(rules.route(&event), Route::one("express"));
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventField {
    /// The attribute of that name, by its canonical text.
    Attribute(SmallStr),
    /// The key. An event without one matches no pattern.
    Key,
    /// The subject. An event without one matches no pattern.
    Subject,
    /// The type.
    Type,
    /// The source.
    Source,
}

impl EventField {
    pub(crate) fn text<'a>(&self, event: &'a Event) -> Option<Cow<'a, str>> {
        match self {
            Self::Attribute(name) => {
                let value = event.attributes().get(name)?;
                Some(match value.as_str() {
                    Some(text) => text.into(),
                    None => value.to_string().into(),
                })
            }
            Self::Key => event.key().map(Cow::Borrowed),
            Self::Subject => event.subject().map(Cow::Borrowed),
            Self::Type => Some(event.kind().into()),
            Self::Source => Some(event.source().into()),
        }
    }
}

impl fmt::Display for EventField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => write!(f, "attributes.{name}"),
            Self::Key => f.write_str("key"),
            Self::Subject => f.write_str("subject"),
            Self::Type => f.write_str("type"),
            Self::Source => f.write_str("source"),
        }
    }
}

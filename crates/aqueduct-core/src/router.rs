use std::borrow::Cow;

use crate::{Event, SmallStr};

/// Names the targets of an event: pure, synchronous, borrowing.
///
/// Closures are routers. They may return a [`Route`], a name, or a list of names, which all receive
/// the event:
///
/// ```
/// use aqueduct_core::{Event, Route, Router, SmallStr};
///
/// let by_type = |event: &Event| match event.kind().split_once('.') {
///     Some(("order", _)) => Route::one("orders"),
///     _ => Route::Nowhere,
/// };
/// assert_eq!(by_type.route(&Event::new("order.placed")), Route::one("orders"));
///
/// let by_tenant = |event: &Event| {
///     let tenant = event.subject().unwrap_or("unknown");
///     vec![SmallStr::from(format!("{tenant}-events")), SmallStr::from("audit")]
/// };
/// let event = Event::new("order.placed").with_subject("acme");
/// assert_eq!(by_tenant.route(&event).names().collect::<Vec<_>>(), ["acme-events", "audit"]);
/// ```
pub trait Router: Send + Sync {
    /// Returns the targets of `event`.
    fn route<'a>(&'a self, event: &Event) -> Route<'a>;
}

impl<F, R> Router for F
where
    F: Fn(&Event) -> R + Send + Sync,
    R: Into<Route<'static>>,
{
    fn route<'a>(&'a self, event: &Event) -> Route<'a> {
        self(event).into()
    }
}

/// The targets of one event.
///
/// ```
/// use aqueduct_core::{Route, SmallStr};
///
/// let both = Route::all(["orders", "audit"].map(SmallStr::literal).to_vec());
/// assert_eq!(both.names().collect::<Vec<_>>(), ["orders", "audit"]);
/// assert_eq!(Route::any(Vec::new()), Route::Nowhere);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route<'a> {
    /// No target takes it: sending it is an error.
    Nowhere,
    /// One target.
    One(Cow<'a, str>),
    /// Every one of them.
    All(Cow<'a, [SmallStr]>),
    /// One of them, chosen by the sender: by key if the event has one, so that the key keeps its
    /// order; otherwise the target with the fewest events in flight.
    Any(Cow<'a, [SmallStr]>),
}

impl<'a> Route<'a> {
    /// Routes to one target.
    pub fn one(name: impl Into<Cow<'a, str>>) -> Self {
        Self::One(name.into())
    }

    /// Routes to every target of a list. An empty list is [`Nowhere`](Self::Nowhere).
    pub fn all(names: impl Into<Cow<'a, [SmallStr]>>) -> Self {
        let names = names.into();
        match names.is_empty() {
            true => Self::Nowhere,
            false => Self::All(names),
        }
    }

    /// Routes to one target of a list. An empty list is [`Nowhere`](Self::Nowhere).
    pub fn any(names: impl Into<Cow<'a, [SmallStr]>>) -> Self {
        let names = names.into();
        match names.is_empty() {
            true => Self::Nowhere,
            false => Self::Any(names),
        }
    }

    /// Returns every name in it, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (one, list) = match self {
            Self::Nowhere => (None, &[][..]),
            Self::One(name) => (Some(&**name), &[][..]),
            Self::All(names) | Self::Any(names) => (None, &**names),
        };
        one.into_iter().chain(list.iter().map(SmallStr::as_str))
    }
}

impl From<&'static str> for Route<'static> {
    fn from(name: &'static str) -> Self {
        Self::one(name)
    }
}

impl From<String> for Route<'static> {
    fn from(name: String) -> Self {
        Self::one(name)
    }
}

impl From<SmallStr> for Route<'static> {
    fn from(name: SmallStr) -> Self {
        Self::one(name.as_str().to_owned())
    }
}

impl From<Vec<SmallStr>> for Route<'static> {
    fn from(names: Vec<SmallStr>) -> Self {
        Self::all(names)
    }
}

use crate::{Event, SmallStr};

/// Names the targets of an event: pure, synchronous, borrowing.
///
/// Closures are routers:
///
/// ```
/// use aqueduct_core::{Event, Route, Router};
///
/// let router = |event: &Event| match event.kind().starts_with("order.") {
///     true => Route::One("orders"),
///     false => Route::Nowhere,
/// };
/// assert_eq!(router.route(&Event::new("order.placed")), Route::One("orders"));
/// ```
pub trait Router: Send + Sync {
    /// Where `event` goes.
    fn route<'a>(&'a self, event: &Event) -> Route<'a>;
}

impl<F> Router for F
where
    F: Fn(&Event) -> Route<'static> + Send + Sync,
{
    fn route<'a>(&'a self, event: &Event) -> Route<'a> {
        self(event)
    }
}

/// The targets of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route<'a> {
    /// No target takes it.
    Nowhere,
    /// That one.
    One(&'a str),
    /// Every one of them.
    All(&'a [SmallStr]),
    /// One of them, chosen by the sender.
    Any(&'a [SmallStr]),
}

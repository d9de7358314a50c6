mod balance;

use std::borrow::Cow;

pub use self::balance::{Balance, Load};
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
    /// One of its targets, chosen by the sender as it says.
    Balanced(&'a Balance),
    /// Everything that these name.
    Several(Vec<Route<'a>>),
    /// No target, on purpose: sending it does nothing.
    Drop,
    /// The router cannot tell, for this reason: sending it is an error.
    Failed(String),
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

    /// Routes to everything that the routes name. Those that name nothing are left out; if all do, so
    /// does this. If one cannot tell, neither can this.
    pub fn several(routes: impl IntoIterator<Item = Self>) -> Self {
        let mut named = Vec::new();
        let mut dropped = false;
        for route in routes {
            match route {
                Self::Nowhere => {}
                Self::Drop => dropped = true,
                Self::Failed(_) => return route,
                route => named.push(route),
            }
        }
        match (named.pop(), dropped) {
            (None, false) => Self::Nowhere,
            (None, true) => Self::Drop,
            (Some(only), _) if named.is_empty() => only,
            (Some(last), _) => {
                named.push(last);
                Self::Several(named)
            }
        }
    }

    /// Returns every name in it, in order. A name may come more than once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (one, list, several) = match self {
            Self::Nowhere | Self::Drop | Self::Failed(_) => (None, &[][..], Vec::new()),
            Self::One(name) => (Some(&**name), &[][..], Vec::new()),
            Self::All(names) | Self::Any(names) => (None, &**names, Vec::new()),
            Self::Balanced(balance) => (None, balance.targets(), Vec::new()),
            Self::Several(routes) => {
                let mut names = Vec::new();
                routes
                    .iter()
                    .for_each(|route| names.extend(route.boxed_names()));
                (None, &[][..], names)
            }
        };
        one.into_iter()
            .chain(list.iter().map(SmallStr::as_str))
            .chain(several)
    }

    fn boxed_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.names())
    }

    /// Decides where the event goes: one target for each that [`Any`](Self::Any) and
    /// [`Balanced`](Self::Balanced) leave open, by the `load` of the targets. Each target comes once, in
    /// order.
    pub fn choose(&self, event: &Event, load: &impl Fn(&SmallStr) -> Load) -> Vec<SmallStr> {
        let mut chosen = Vec::new();
        self.choose_into(event, load, &mut chosen);
        chosen
    }

    fn choose_into(
        &self,
        event: &Event,
        load: &impl Fn(&SmallStr) -> Load,
        chosen: &mut Vec<SmallStr>,
    ) {
        let mut add = |name: &str| {
            if !chosen.iter().any(|known| known == name) {
                chosen.push(name.into());
            }
        };
        match self {
            Self::Nowhere | Self::Drop | Self::Failed(_) => {}
            Self::One(name) => add(name),
            Self::All(names) => names.iter().for_each(|name| add(name)),
            Self::Any(names) => {
                if let Some(name) = balance::of_names(event, names, load) {
                    add(name);
                }
            }
            Self::Balanced(balance) => add(balance.choose(event, load)),
            Self::Several(routes) => {
                for route in routes {
                    route.choose_into(event, load, chosen);
                }
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(route: &Route<'_>) -> Vec<String> {
        route.names().map(String::from).collect()
    }

    #[test]
    fn several_routes_are_one_of_what_they_name() {
        let all = [SmallStr::from("b"), SmallStr::from("a")];
        let both = Route::several([
            Route::one("a"),
            Route::Drop,
            Route::Nowhere,
            Route::all(&all),
        ]);
        assert_eq!(names(&both), ["a", "b", "a"]);
        let chosen = both.choose(&Event::new("x"), &|_| Load::default());
        assert_eq!(chosen, ["a", "b"]);
        assert_eq!(
            Route::several([Route::Nowhere, Route::one("a")]),
            Route::one("a")
        );
        assert_eq!(Route::several([Route::Nowhere, Route::Drop]), Route::Drop);
        assert_eq!(Route::several([Route::Nowhere]), Route::Nowhere);
        let failed = || Route::Failed("no data".into());
        assert_eq!(Route::several([Route::one("a"), failed()]), failed());
    }

    #[test]
    fn one_target_is_chosen_for_each_choice() {
        let (first, second) = (
            [SmallStr::from("a"), SmallStr::from("b")],
            Balance::round_robin(["b", "c"]),
        );
        let second = second.unwrap();
        let route = Route::several([Route::any(&first), Route::Balanced(&second)]);
        let busy = |name: &SmallStr| Load {
            in_flight: usize::from(name == "a"),
            failing: false,
        };
        assert_eq!(route.choose(&Event::new("x"), &busy), ["b"]);
        assert_eq!(route.choose(&Event::new("x"), &busy), ["b", "c"]);
    }
}

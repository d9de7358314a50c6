use aqueduct_core::{Event, Result, Route, Router, SmallStr};

use crate::{Condition, Targets};

/// Routes by conditions: to the first rule that holds, or to all of them.
///
/// ```
/// use aqueduct_core::{Event, Router};
/// use aqueduct_routing::{Condition, Matching, Targets};
///
/// let router = Matching::first()
///     .when(Condition::kind("order.*").and(Condition::key("VIP-*")), ["vip", "orders"])?
///     .when(Condition::kind("order.*"), "orders")?
///     .when(Condition::kind("heartbeat"), Targets::Drop)?
///     .otherwise("rest")?;
///
/// let names = |event: Event| router.route(&event).names().map(String::from).collect::<Vec<_>>();
/// assert_eq!(names(Event::new("order.paid").with_key("VIP-1")), ["vip", "orders"]);
/// assert_eq!(names(Event::new("order.paid")), ["orders"]);
/// assert_eq!(names(Event::new("cart.opened")), ["rest"]);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Matching {
    rules: Vec<(Condition, Targets)>,
    /// Whether all rules that hold count, rather than the first.
    all: bool,
}

/// A [`Matching`] with a default, which makes it a router.
#[derive(Clone, Debug)]
pub struct Matched {
    rules: Vec<(Condition, Targets)>,
    all: bool,
    otherwise: Targets,
}

impl Matching {
    /// Begins rules of which the first that holds decides.
    pub fn first() -> Self {
        Self {
            rules: Vec::new(),
            all: false,
        }
    }

    /// Begins rules of which every one that holds counts: an event goes to the targets of each, to
    /// none of them twice.
    pub fn all() -> Self {
        Self {
            rules: Vec::new(),
            all: true,
        }
    }

    /// Adds a rule behind the others.
    ///
    /// # Errors
    /// `Config` if it names no target.
    pub fn when(mut self, condition: Condition, targets: impl Into<Targets>) -> Result<Self> {
        let targets = targets.into();
        targets
            .check()
            .map_err(|error| error.context(format_args!("rule {}", self.rules.len() + 1)))?;
        self.rules.push((condition, targets));
        Ok(self)
    }

    /// Says where an event goes for which no rule holds: [`Targets::Refuse`] makes sending it an
    /// error.
    ///
    /// # Errors
    /// `Config` if it names no target.
    pub fn otherwise(self, targets: impl Into<Targets>) -> Result<Matched> {
        let otherwise = targets.into();
        otherwise
            .check()
            .map_err(|error| error.context("otherwise"))?;
        Ok(Matched {
            rules: self.rules,
            all: self.all,
            otherwise,
        })
    }
}

impl Matched {
    /// Returns every target that it can route to; a name may come more than once.
    pub fn targets(&self) -> impl Iterator<Item = &SmallStr> {
        let rules = self.rules.iter().flat_map(|(_, targets)| targets.names());
        rules.chain(self.otherwise.names())
    }
}

impl Router for Matched {
    fn route<'a>(&'a self, event: &Event) -> Route<'a> {
        let mut holding = Vec::new();
        for (condition, targets) in &self.rules {
            match condition.holds(event) {
                Ok(true) if self.all => holding.push(targets.route()),
                Ok(true) => return targets.route(),
                Ok(false) => {}
                // To go on with the next rule would send it where it was not meant to go.
                Err(error) => return Route::Failed(error.to_string()),
            }
        }
        match holding.is_empty() {
            true => self.otherwise.route(),
            false => Route::several(holding),
        }
    }
}

/// Combines routers.
///
/// ```
/// use aqueduct_core::{Event, Route, Router};
/// use aqueduct_routing::{Condition, RouterExt};
///
/// let orders = |_: &Event| "orders";
/// let router = orders
///     .filtered(Condition::kind("order.*"))
///     .or_else(|_: &Event| "rest")
///     .and(|_: &Event| "audit");
/// let names = |kind: &'static str| {
///     router.route(&Event::new(kind)).names().map(String::from).collect::<Vec<_>>()
/// };
/// assert_eq!(names("order.paid"), ["orders", "audit"]);
/// assert_eq!(names("cart.opened"), ["rest", "audit"]);
/// ```
pub trait RouterExt: Router + Sized {
    /// Routes only what meets the condition; all else goes nowhere.
    fn filtered(self, condition: Condition) -> Filtered<Self> {
        Filtered {
            router: self,
            condition,
        }
    }

    /// Routes by `other` what this router sends nowhere.
    fn or_else<R: Router>(self, other: R) -> OrElse<Self, R> {
        OrElse(self, other)
    }

    /// Routes to the targets of both.
    fn and<R: Router>(self, other: R) -> And<Self, R> {
        And(self, other)
    }
}

impl<R: Router> RouterExt for R {}

/// Returned by [`RouterExt::filtered`].
#[derive(Clone, Debug)]
pub struct Filtered<R> {
    router: R,
    condition: Condition,
}

impl<R: Router> Router for Filtered<R> {
    fn route<'a>(&'a self, event: &Event) -> Route<'a> {
        match self.condition.holds(event) {
            Ok(true) => self.router.route(event),
            Ok(false) => Route::Nowhere,
            Err(error) => Route::Failed(error.to_string()),
        }
    }
}

/// Returned by [`RouterExt::or_else`].
#[derive(Clone, Debug)]
pub struct OrElse<R, S>(R, S);

impl<R: Router, S: Router> Router for OrElse<R, S> {
    fn route<'a>(&'a self, event: &Event) -> Route<'a> {
        match self.0.route(event) {
            Route::Nowhere => self.1.route(event),
            route => route,
        }
    }
}

/// Returned by [`RouterExt::and`].
#[derive(Clone, Debug)]
pub struct And<R, S>(R, S);

impl<R: Router, S: Router> Router for And<R, S> {
    fn route<'a>(&'a self, event: &Event) -> Route<'a> {
        Route::several([self.0.route(event), self.1.route(event)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_without_a_target_are_refused_by_their_number() {
        let rules = Matching::first().when(Condition::kind("a"), "a").unwrap();
        let error = rules
            .clone()
            .when(Condition::kind("b"), Vec::new())
            .unwrap_err();
        assert!(error.to_string().contains("rule 2"), "{error}");
        let error = rules.otherwise(Vec::new()).unwrap_err();
        assert!(error.to_string().contains("otherwise"), "{error}");
    }

    fn name(n: usize) -> SmallStr {
        format!("s{n}").into()
    }

    proptest! {
        #[test]
        fn every_event_goes_to_the_targets_that_a_naive_model_names(
            rules in prop::collection::vec(("[ab*]{0,3}", prop::collection::vec(0usize..5, 0..3)), 0..6),
            all: bool,
            kind in "[ab]{1,3}",
        ) {
            let mut matching = if all { Matching::all() } else { Matching::first() };
            for (pattern, targets) in &rules {
                let targets = match targets.is_empty() {
                    true => Targets::Drop,
                    false => targets.iter().map(|n| name(*n)).collect::<Vec<_>>().into(),
                };
                matching = matching.when(Condition::kind(pattern.as_str()), targets).unwrap();
            }
            let router = matching.otherwise(name(9)).unwrap();
            let event = Event::new(kind.as_str());
            let chosen = router.route(&event).choose(&event, &|_| Default::default());

            let holds = |pattern: &str| crate::Pattern::new(pattern).matches(&kind);
            let mut holding = rules.iter().filter(|(pattern, _)| holds(pattern)).peekable();
            let mut expected = Vec::new();
            if holding.peek().is_none() {
                expected.push(name(9));
            }
            for (_, targets) in holding.take(if all { usize::MAX } else { 1 }) {
                for target in targets {
                    if !expected.contains(&name(*target)) {
                        expected.push(name(*target));
                    }
                }
            }
            prop_assert_eq!(chosen, expected);
        }
    }
}

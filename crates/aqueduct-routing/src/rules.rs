use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use aqueduct_core::{Error, Event, Result, Route, Router, SmallStr};

use crate::Pattern;

/// Routes by patterns over the fields of an event.
///
/// ```
/// use aqueduct_core::{Event, Route, Router};
/// use aqueduct_routing::{EventField, Otherwise, Rules};
///
/// let rules = Rules::new(Otherwise::Refuse).rule(
///     EventField::Attribute("region".into()),
///     "eu-*",
///     ["orders-eu"],
/// )?;
/// let event = Event::new("order.placed").with_attribute("region", "eu-west-1")?;
/// assert_eq!(rules.route(&event), Route::one("orders-eu"));
/// assert_eq!(rules.route(&Event::new("order.placed")), Route::Nowhere);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    /// By field, the most specific first; the patterns of a field, the most specific first.
    fields: BTreeMap<EventField, Vec<Rule>>,
    otherwise: Otherwise,
}

/// The field of an event that a rule looks at, the most specific first.
///
/// ```
/// use aqueduct_core::{Event, Route, Router};
/// use aqueduct_routing::{EventField, Otherwise, Rules};
///
/// let rules = Rules::new(Otherwise::Refuse).rule(EventField::Key, "VIP-*", ["express"])?;
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
    /// The type.
    Type,
    /// The source.
    Source,
}

/// The route of an event that matches no rule.
///
/// ```
/// use aqueduct_core::{Event, Route, Router};
/// use aqueduct_routing::{Otherwise, Rules};
///
/// let rules = Rules::new(Otherwise::Send(vec!["rest".into()]));
/// assert_eq!(rules.route(&Event::new("cart")), Route::one("rest"));
/// let strict = Rules::new(Otherwise::Refuse);
/// assert_eq!(strict.route(&Event::new("cart")), Route::Nowhere);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// Sends it to all of these.
    Send(Vec<SmallStr>),
    /// Routes it nowhere, so that sending it is an error.
    Refuse,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    targets: Vec<SmallStr>,
}

impl Rules {
    /// Returns rules without any: all events go where `otherwise` says.
    pub fn new(otherwise: Otherwise) -> Self {
        Self {
            fields: BTreeMap::new(),
            otherwise,
        }
    }

    /// Adds a rule: events whose `field` matches `pattern` go to all `targets`.
    ///
    /// # Errors
    /// `Config` if there is no target, or a rule for this field and pattern already.
    pub fn rule(
        mut self,
        field: EventField,
        pattern: impl Into<SmallStr>,
        targets: impl IntoIterator<Item = impl Into<SmallStr>>,
    ) -> Result<Self> {
        let pattern = Pattern::new(pattern);
        let targets: Vec<SmallStr> = targets.into_iter().map(Into::into).collect();
        let refuse = |why: &str| Err(Error::config(format!("{field} = \"{pattern}\": {why}")));
        if targets.is_empty() {
            return refuse("the rule names no target");
        }
        let rules = self.fields.entry(field.clone()).or_default();
        match rules.binary_search_by(|rule| rule.pattern.by_specificity(&pattern)) {
            Ok(_) => return refuse("there are two rules for this pattern"),
            Err(at) => rules.insert(at, Rule { pattern, targets }),
        }
        Ok(self)
    }

    /// Returns every target that it can route to; a name may come more than once.
    pub fn targets(&self) -> impl Iterator<Item = &SmallStr> {
        let rules = self.fields.values().flatten();
        let otherwise = match &self.otherwise {
            Otherwise::Send(targets) => targets.as_slice(),
            Otherwise::Refuse => &[],
        };
        rules.flat_map(|rule| &rule.targets).chain(otherwise)
    }
}

impl Router for Rules {
    fn route<'a>(&'a self, event: &Event) -> Route<'a> {
        for (field, rules) in &self.fields {
            let Some(text) = field.text(event) else {
                continue;
            };
            if let Some(rule) = rules.iter().find(|rule| rule.pattern.matches(&text)) {
                return to(&rule.targets);
            }
        }
        match &self.otherwise {
            Otherwise::Send(targets) => to(targets),
            Otherwise::Refuse => Route::Nowhere,
        }
    }
}

fn to(targets: &[SmallStr]) -> Route<'_> {
    match targets {
        [one] => Route::one(one.as_str()),
        several => Route::all(several),
    }
}

impl EventField {
    fn text<'a>(&self, event: &'a Event) -> Option<Cow<'a, str>> {
        match self {
            Self::Attribute(name) => {
                let value = event.attributes().get(name)?;
                Some(match value.as_str() {
                    Some(text) => text.into(),
                    None => value.to_string().into(),
                })
            }
            Self::Key => event.key().map(Cow::Borrowed),
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
            Self::Type => f.write_str("type"),
            Self::Source => f.write_str("source"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: &Rules, event: &Event) -> Vec<String> {
        rules.route(event).names().map(String::from).collect()
    }

    #[test]
    fn the_most_specific_field_and_pattern_decide() {
        let rules = Rules::new(Otherwise::Send(vec!["rest".into()]))
            .rule(EventField::Source, "*", ["by-source"])
            .and_then(|it| it.rule(EventField::Type, "order.*", ["orders"]))
            .and_then(|it| it.rule(EventField::Type, "order.placed.*", ["placed"]))
            .and_then(|it| it.rule(EventField::Type, "order.placed", ["exact", "audit"]))
            .and_then(|it| it.rule(EventField::Key, "VIP-*", ["vip"]))
            .and_then(|it| it.rule(EventField::Attribute("priority".into()), "3", ["urgent"]))
            .unwrap();
        for (event, expected) in [
            (Event::new("order.paid"), &["orders"][..]),
            (Event::new("order.placed.late"), &["placed"]),
            (Event::new("order.placed"), &["exact", "audit"]),
            (Event::new("order.placed").with_key("VIP-1"), &["vip"]),
            (
                Event::new("order.placed")
                    .with_key("VIP-1")
                    .with_attribute("priority", 3)
                    .unwrap(),
                &["urgent"],
            ),
            (Event::new("cart"), &["by-source"]),
        ] {
            assert_eq!(names(&rules, &event), expected, "{event:?}");
        }
        let targets: Vec<_> = rules.targets().map(SmallStr::as_str).collect();
        assert_eq!(targets.len(), 8);
    }

    #[test]
    fn what_matches_no_rule_goes_to_the_default_or_nowhere() {
        let event = Event::new("x");
        let rules = |otherwise| {
            Rules::new(otherwise)
                .rule(EventField::Key, "*", ["keyed"])
                .unwrap()
        };
        let sends = rules(Otherwise::Send(vec!["rest".into()]));
        assert_eq!(names(&sends, &event), ["rest"]);
        assert_eq!(rules(Otherwise::Refuse).route(&event), Route::Nowhere);
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let rules = Rules::new(Otherwise::Refuse);
        let none = rules
            .clone()
            .rule(EventField::Type, "x", [""; 0])
            .unwrap_err();
        assert!(none.to_string().contains("type = \"x\""), "{none}");
        let twice = rules.rule(EventField::Type, "x", ["a"]).unwrap();
        let twice = twice.rule(EventField::Type, "x", ["b"]).unwrap_err();
        assert!(twice.to_string().contains("two rules"), "{twice}");
    }
}

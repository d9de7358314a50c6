use std::collections::BTreeMap;

use aqueduct_core::{Error, Event, Result, Route, Router, SmallStr};

use crate::{EventField, Pattern, Targets};

/// Routes by patterns over the fields of an event.
///
/// ```
/// use aqueduct_core::{Event, Route, Router};
/// use aqueduct_routing::{EventField, Rules, Targets};
///
/// let rules = Rules::new(Targets::Refuse).rule(
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
    otherwise: Targets,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    targets: Targets,
}

impl Rules {
    /// Returns rules without any: all events go where `otherwise` says.
    pub fn new(otherwise: impl Into<Targets>) -> Self {
        Self {
            fields: BTreeMap::new(),
            otherwise: otherwise.into(),
        }
    }

    /// Adds a rule: events whose `field` matches `pattern` go to `targets`.
    ///
    /// # Errors
    /// `Config` if there is no target, or a rule for this field and pattern already.
    pub fn rule(
        mut self,
        field: EventField,
        pattern: impl Into<SmallStr>,
        targets: impl Into<Targets>,
    ) -> Result<Self> {
        let pattern = Pattern::new(pattern);
        let targets = targets.into();
        targets
            .check()
            .map_err(|error| error.context(format_args!("{field} = \"{pattern}\"")))?;
        let rules = self.fields.entry(field.clone()).or_default();
        match rules.binary_search_by(|rule| rule.pattern.by_specificity(&pattern)) {
            Ok(_) => {
                return Err(Error::config(format!(
                    "{field} = \"{pattern}\": there are two rules for this pattern"
                )));
            }
            Err(at) => rules.insert(at, Rule { pattern, targets }),
        }
        Ok(self)
    }

    /// Returns every target that it can route to; a name may come more than once.
    pub fn targets(&self) -> impl Iterator<Item = &SmallStr> {
        let rules = self.fields.values().flatten();
        rules
            .flat_map(|rule| rule.targets.names())
            .chain(self.otherwise.names())
    }
}

impl Router for Rules {
    fn route<'a>(&'a self, event: &Event) -> Route<'a> {
        for (field, rules) in &self.fields {
            let Some(text) = field.text(event) else {
                continue;
            };
            if let Some(rule) = rules.iter().find(|rule| rule.pattern.matches(&text)) {
                return rule.targets.route();
            }
        }
        self.otherwise.route()
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
        let rules = Rules::new("rest")
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
        let rules = |otherwise: Targets| {
            Rules::new(otherwise)
                .rule(EventField::Key, "*", ["keyed"])
                .unwrap()
        };
        let sends = rules("rest".into());
        assert_eq!(names(&sends, &event), ["rest"]);
        assert_eq!(rules(Targets::Refuse).route(&event), Route::Nowhere);
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let rules = Rules::new(Targets::Refuse);
        let none = rules
            .clone()
            .rule(EventField::Type, "x", Vec::new())
            .unwrap_err();
        assert!(none.to_string().contains("type = \"x\""), "{none}");
        let twice = rules.rule(EventField::Type, "x", ["a"]).unwrap();
        let twice = twice.rule(EventField::Type, "x", ["b"]).unwrap_err();
        assert!(twice.to_string().contains("two rules"), "{twice}");
    }
}

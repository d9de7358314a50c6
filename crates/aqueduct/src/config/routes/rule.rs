use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{Balance, Error, Result, Runtime, SmallStr, Timestamp};
use aqueduct_routing::{Condition, EventField, Targets};

use super::super::section::{Section, Value, read_leaf};
use super::super::tree::{Node, Table};
use super::{Reader, attribute, field};

/// One of `[[routes.NAME.rules]]`: every condition in it must hold.
#[derive(Clone, Debug)]
pub(super) struct RuleConfig {
    patterns: Vec<(EventField, SmallStr)>,
    older_than: Option<Duration>,
    window: Option<(Timestamp, Timestamp)>,
    when: Option<Condition>,
    targets: Targets,
}

impl RuleConfig {
    pub(super) fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Returns its condition, the cheapest part first.
    pub(super) fn condition(&self, runtime: &Runtime) -> Condition {
        let patterns = self.patterns.iter().cloned();
        let mut parts: Vec<Condition> = patterns
            .map(|(field, pattern)| Condition::field(field, pattern))
            .collect();
        parts.extend(
            self.window
                .map(|(from, until)| Condition::between(from, until)),
        );
        parts.extend(
            self.older_than
                .map(|age| Condition::older_than(age, runtime)),
        );
        parts.extend(self.when.clone());
        // A rule without a condition holds always.
        parts
            .into_iter()
            .reduce(Condition::and)
            .unwrap_or_else(|| Condition::check(|_| true))
    }
}

pub(super) fn read(place: &str, mut table: Table, reader: &Reader<'_>) -> Result<RuleConfig> {
    let to = table.remove("to");
    let mut patterns = Vec::new();
    if let Some(node) = table.remove("attributes") {
        let place = format!("{place}.attributes");
        for (name, node) in super::as_table(&place, node)? {
            let Node::Leaf(leaf) = node else {
                return Err(Error::config(format!(
                    "{place}.{name}: expected a pattern, found {}",
                    node.describe()
                )));
            };
            let pattern = read_leaf(&place, &name, &leaf, reader.environment)?.text;
            let field = attribute(&format!("{place}.{name}"), name)?;
            patterns.push((field, pattern));
        }
    }
    let mut section = Section::new(place, table, reader.environment)?;
    section.add_known("attributes");
    section.add_known("to");
    for name in ["key", "subject", "type", "source"] {
        if let (Some(field), Some(pattern)) = (field(name), section.text(name)?) {
            patterns.push((field, pattern));
        }
    }
    let older_than = section.duration("older_than")?;
    let window = read_window(&mut section)?;
    let when = read_expression(&mut section, "when")?;
    let targets = read_targets(place, to, &mut section, reader)?;
    section.finish()?;
    Ok(RuleConfig {
        patterns,
        older_than,
        window,
        when,
        targets,
    })
}

fn read_window(section: &mut Section) -> Result<Option<(Timestamp, Timestamp)>> {
    let mut time = |name| -> Result<Option<Timestamp>> {
        let Some(text) = section.text(name)? else {
            return Ok(None);
        };
        let time = text.parse().map_err(|error| section.refuse(name, error))?;
        Ok(Some(time))
    };
    let (from, until) = (time("from")?, time("until")?);
    match (from, until) {
        (None, None) => Ok(None),
        (from, until) => {
            let from = from.unwrap_or(Timestamp::MIN);
            let until = until.unwrap_or(Timestamp::MAX);
            match from < until {
                true => Ok(Some((from, until))),
                false => Err(section.refuse("until", "it is not after `from`")),
            }
        }
    }
}

/// Reads an expression in the Common Expression Language.
#[cfg(feature = "cel")]
pub(in super::super) fn read_expression(
    section: &mut Section,
    name: &'static str,
) -> Result<Option<Condition>> {
    let Some(text) = section.text(name)? else {
        return Ok(None);
    };
    let condition = Condition::cel(&text);
    condition
        .map(Some)
        .map_err(|error| section.refuse(name, error.message()))
}

#[cfg(not(feature = "cel"))]
pub(in super::super) fn read_expression(
    section: &mut Section,
    name: &'static str,
) -> Result<Option<Condition>> {
    match section.text(name)? {
        None => Ok(None),
        Some(_) => Err(section.refuse(
            name,
            "expressions need the feature `cel` of the crate `aqueduct`, which is off",
        )),
    }
}

/// Reads `to`, and how it is balanced.
fn read_targets(
    place: &str,
    to: Option<Node>,
    section: &mut Section,
    reader: &Reader<'_>,
) -> Result<Targets> {
    let weights = read_weights(section, reader)?;
    let balance = section.choice("balance", &["key", "least-in-flight", "round-robin"])?;
    let Some(to) = to else {
        return match weights.is_empty() {
            true => Err(Error::config(format!(
                "{place}.to: it is missing; name a stream or a list of them, \"drop\", or \"refuse\"; \
                 or give `weights`; declared: {}",
                reader.declared()
            ))),
            false => Balance::weighted(weights)
                .map(Targets::Balanced)
                .map_err(|error| error.context(format_args!("{place}.weights"))),
        };
    };
    if !weights.is_empty() {
        return Err(section.refuse("weights", "the rule has `to` already; give one of both"));
    }
    let targets = reader.targets(place, "to", to)?;
    let Some(balance) = balance else {
        return Ok(targets);
    };
    let Targets::All(names) = targets else {
        return Err(section.refuse("balance", "`to` names no stream"));
    };
    let balanced = match balance {
        "key" => Balance::by_key(names),
        "least-in-flight" => Balance::least_in_flight(names),
        _ => Balance::round_robin(names),
    };
    balanced
        .map(Targets::Balanced)
        .map_err(|error| error.context(format_args!("{place}.to")))
}

fn read_weights(section: &mut Section, reader: &Reader<'_>) -> Result<BTreeMap<SmallStr, u32>> {
    let table = section.table("weights")?;
    let place = table.place().to_owned();
    let mut weights = BTreeMap::new();
    for (name, value) in table.into_values()? {
        let stream = Value {
            text: name.clone(),
            shown: name.clone(),
        };
        reader.check_stream(&place, &name, &stream)?;
        let weight = value.text.parse().ok().filter(|weight: &u32| *weight > 0);
        let Some(weight) = weight else {
            return Err(Error::config(format!(
                "{place}.{name} = \"{}\": expected a whole number from 1 to {}",
                value.shown,
                u32::MAX
            )));
        };
        weights.insert(name, weight);
    }
    Ok(weights)
}

mod rule;

use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_core::{Error, Event, Result, Router, Runtime, SmallStr};
use aqueduct_routing::{EventField, Matching, RouterExt, Rules, Targets};

use self::rule::RuleConfig;
pub(super) use self::rule::read_expression;
use super::section::{Value, read_leaf};
use super::target::{Target, TargetKind};
use super::tree::{Node, Table};
use super::{Environment, as_table, list};

/// The keys of `[routes.NAME]`.
const KEYS: &str = "attributes, default, key, match, rules, source, subject, type";

/// The target that makes sending an event an error.
const REFUSE: &str = "refuse";

/// The target of events that go nowhere on purpose.
const DROP: &str = "drop";

/// One table of `[routes]`: rules with conditions in their order, and rules by pattern behind them.
#[derive(Clone, Debug)]
pub(crate) struct RouteConfig {
    rules: Vec<RuleConfig>,
    /// Whether every rule that holds counts, rather than the first.
    all: bool,
    patterns: Rules,
}

impl RouteConfig {
    /// Returns the streams that it can route to; a name may come more than once.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &SmallStr> {
        let rules = self.rules.iter().flat_map(|rule| rule.targets().names());
        rules.chain(self.patterns.targets())
    }

    pub(crate) fn router(&self, runtime: &Runtime) -> Result<Arc<dyn Router>> {
        if self.rules.is_empty() {
            return Ok(Arc::new(self.patterns.clone()));
        }
        let mut matching = match self.all {
            true => Matching::all(),
            false => Matching::first(),
        };
        for rule in &self.rules {
            matching = matching.when(rule.condition(runtime), rule.targets().clone())?;
        }
        let rules = matching.otherwise(Targets::Refuse)?;
        Ok(Arc::new(rules.or_else(self.patterns.clone())))
    }
}

/// Reads one table of `[routes]`.
pub(super) fn read(
    place: &str,
    mut table: Table,
    targets: &BTreeMap<SmallStr, Target>,
    environment: &Environment,
) -> Result<RouteConfig> {
    let reader = Reader {
        targets,
        environment,
    };
    let otherwise = match table.remove("default") {
        Some(node) => reader.targets(place, "default", node)?,
        None => {
            return Err(Error::config(format!(
                "{place}.default: it is missing; name the stream that takes events which match no \
                 rule, or set it to \"{REFUSE}\" to make sending them an error; declared: {}",
                reader.declared()
            )));
        }
    };
    let all = match table.remove("match") {
        None => false,
        Some(Node::Leaf(leaf)) => {
            let value = read_leaf(place, "match", &leaf, environment)?;
            match value.text.as_str() {
                "first" => false,
                "all" => true,
                _ => {
                    return Err(Error::config(format!(
                        "{place}.match = \"{}\": expected first or all",
                        value.shown
                    )));
                }
            }
        }
        Some(other) => {
            return Err(Error::config(format!(
                "{place}.match: expected first or all, found {}",
                other.describe()
            )));
        }
    };
    let rules = match table.remove("rules") {
        None => Vec::new(),
        Some(Node::Tables(tables)) => tables
            .into_iter()
            .enumerate()
            .map(|(at, table)| rule::read(&format!("{place}.rules.{}", at + 1), table, &reader))
            .collect::<Result<_>>()?,
        Some(other) => {
            return Err(Error::config(format!(
                "{place}.rules: expected tables, found {}; write [[{place}.rules]]",
                other.describe()
            )));
        }
    };
    let mut patterns = Rules::new(otherwise);
    for (name, node) in table {
        let place = format!("{place}.{name}");
        let field = match name.as_str() {
            "attributes" => {
                for (name, node) in as_table(&place, node)? {
                    let place = format!("{place}.{name}");
                    let field = attribute(&place, name)?;
                    patterns = reader.rules(patterns, &place, &field, as_table(&place, node)?)?;
                }
                continue;
            }
            other => field(other)
                .ok_or_else(|| Error::config(format!("{place}: no such option; valid: {KEYS}")))?,
        };
        patterns = reader.rules(patterns, &place, &field, as_table(&place, node)?)?;
    }
    Ok(RouteConfig {
        rules,
        all,
        patterns,
    })
}

/// Reads the streams of a pipeline.
pub(super) fn read_targets(
    place: &str,
    key: &str,
    node: Node,
    targets: &BTreeMap<SmallStr, Target>,
    environment: &Environment,
) -> Result<Targets> {
    let reader = Reader {
        targets,
        environment,
    };
    reader.streams(place, key, node).map(Targets::All)
}

/// Returns the field of that name, but for attributes.
fn field(name: &str) -> Option<EventField> {
    match name {
        "type" => Some(EventField::Type),
        "source" => Some(EventField::Source),
        "subject" => Some(EventField::Subject),
        "key" => Some(EventField::Key),
        _ => None,
    }
}

/// The scope in which targets are looked up.
struct Reader<'a> {
    targets: &'a BTreeMap<SmallStr, Target>,
    environment: &'a Environment,
}

impl Reader<'_> {
    /// Reads the targets of a rule: `"refuse"`, `"drop"`, a stream's name or a list of them.
    fn targets(&self, place: &str, key: &str, node: Node) -> Result<Targets> {
        if let Node::Leaf(leaf) = &node {
            match read_leaf(place, key, leaf, self.environment)?.text.as_str() {
                REFUSE => return Ok(Targets::Refuse),
                DROP => return Ok(Targets::Drop),
                _ => {}
            }
        }
        self.streams(place, key, node).map(Targets::All)
    }

    fn rules(
        &self,
        mut rules: Rules,
        place: &str,
        field: &EventField,
        table: Table,
    ) -> Result<Rules> {
        for (pattern, node) in table {
            let streams = self.targets(place, &pattern, node)?;
            rules = rules
                .rule(field.clone(), pattern, streams)
                .map_err(|error| error.context(place))?;
        }
        Ok(rules)
    }

    /// Reads one stream's name, or a list of them.
    fn streams(&self, place: &str, key: &str, node: Node) -> Result<Vec<SmallStr>> {
        let leaves = match node {
            Node::Leaf(leaf) => vec![leaf],
            Node::List(leaves, _) => leaves,
            other => {
                return Err(Error::config(format!(
                    "{place}.{key}: expected a stream's name or a list of them, found {}; a pattern \
                     with a dot is written in quotes",
                    other.describe()
                )));
            }
        };
        let mut streams = Vec::with_capacity(leaves.len());
        for leaf in &leaves {
            let value = read_leaf(place, key, leaf, self.environment)?;
            self.check_stream(place, key, &value)?;
            if streams.contains(&value.text) {
                return Err(Error::config(format!(
                    "{place}.{key}: it names the stream `{}` twice",
                    value.shown
                )));
            }
            streams.push(value.text);
        }
        match streams.is_empty() {
            true => Err(Error::config(format!(
                "{place}.{key}: it names no stream; declared: {}",
                self.declared()
            ))),
            false => Ok(streams),
        }
    }

    fn check_stream(&self, place: &str, key: &str, name: &Value) -> Result<()> {
        let kind = self.targets.get(&name.text).map(|target| target.kind);
        match kind == Some(TargetKind::Stream) {
            true => Ok(()),
            false => Err(Error::config(format!(
                "{place}.{key} = \"{shown}\": unknown stream `{shown}`; declared: {}",
                self.declared(),
                shown = name.shown,
            ))),
        }
    }

    fn declared(&self) -> String {
        let streams = self
            .targets
            .iter()
            .filter(|(_, target)| target.kind == TargetKind::Stream);
        list(streams.map(|(name, _)| name))
    }
}

/// The field of an attribute, whose name must be one that an event can have.
pub(super) fn attribute(place: &str, name: SmallStr) -> Result<EventField> {
    let probe = Event::new("probe").with_attribute(name.clone(), true);
    match probe {
        Ok(_) => Ok(EventField::Attribute(name)),
        Err(error) => Err(Error::config(format!("{place}: {error}"))),
    }
}

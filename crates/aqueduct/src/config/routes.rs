use std::collections::BTreeMap;

use aqueduct_core::{Error, Event, Result, SmallStr};
use aqueduct_routing::{EventField, Otherwise, Rules};

use super::section::read_leaf;
use super::target::{Target, TargetKind};
use super::tree::{Node, Table};
use super::{Environment, as_table, list};

/// The keys of `[routes.NAME]`.
const KEYS: &str = "attributes, default, key, source, type";

/// The `default` that makes sending an event without a rule an error.
const REFUSE: &str = "refuse";

/// Reads one table of `[routes]`.
pub(super) fn read(
    place: &str,
    mut table: Table,
    targets: &BTreeMap<SmallStr, Target>,
    environment: &Environment,
) -> Result<Rules> {
    let reader = Reader {
        targets,
        environment,
    };
    let otherwise = match table.remove("default") {
        Some(node) => reader.otherwise(place, node)?,
        None => {
            return Err(Error::config(format!(
                "{place}.default: it is missing; name the stream that takes events which match no \
                 rule, or set it to \"{REFUSE}\" to make sending them an error; declared: {}",
                reader.declared()
            )));
        }
    };
    let mut rules = Rules::new(otherwise);
    for (name, node) in table {
        let place = format!("{place}.{name}");
        let field = match name.as_str() {
            "type" => EventField::Type,
            "source" => EventField::Source,
            "key" => EventField::Key,
            "attributes" => {
                for (name, node) in as_table(&place, node)? {
                    let place = format!("{place}.{name}");
                    let field = attribute(&place, name)?;
                    rules = reader.rules(rules, &place, &field, as_table(&place, node)?)?;
                }
                continue;
            }
            _ => {
                return Err(Error::config(format!(
                    "{place}: no such option; valid: {KEYS}"
                )));
            }
        };
        rules = reader.rules(rules, &place, &field, as_table(&place, node)?)?;
    }
    Ok(rules)
}

/// The scope in which targets are looked up.
struct Reader<'a> {
    targets: &'a BTreeMap<SmallStr, Target>,
    environment: &'a Environment,
}

impl Reader<'_> {
    fn otherwise(&self, place: &str, node: Node) -> Result<Otherwise> {
        if let Node::Leaf(leaf) = &node
            && read_leaf(place, "default", leaf, self.environment)?.text == REFUSE
        {
            return Ok(Otherwise::Refuse);
        }
        self.streams(place, "default", node).map(Otherwise::Send)
    }

    fn rules(
        &self,
        mut rules: Rules,
        place: &str,
        field: &EventField,
        table: Table,
    ) -> Result<Rules> {
        for (pattern, node) in table {
            let streams = self.streams(place, &pattern, node)?;
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
            Node::Table(_) => {
                return Err(Error::config(format!(
                    "{place}.{key}: expected a stream's name or a list of them, found a table; a \
                     pattern with a dot is written in quotes"
                )));
            }
        };
        let mut streams = Vec::with_capacity(leaves.len());
        for leaf in &leaves {
            let value = read_leaf(place, key, leaf, self.environment)?;
            let kind = self.targets.get(&value.text).map(|target| target.kind);
            if kind != Some(TargetKind::Stream) {
                return Err(Error::config(format!(
                    "{place}.{key} = \"{}\": unknown stream `{}`; declared: {}",
                    value.shown,
                    value.shown,
                    self.declared()
                )));
            }
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

    fn declared(&self) -> String {
        let streams = self
            .targets
            .iter()
            .filter(|(_, target)| target.kind == TargetKind::Stream);
        list(streams.map(|(name, _)| name))
    }
}

/// The field of an attribute, whose name must be one that an event can have.
fn attribute(place: &str, name: SmallStr) -> Result<EventField> {
    let probe = Event::new("probe").with_attribute(name.clone(), true);
    match probe {
        Ok(_) => Ok(EventField::Attribute(name)),
        Err(error) => Err(Error::config(format!("{place}: {error}"))),
    }
}

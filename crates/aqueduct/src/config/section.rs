use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use aqueduct_core::{Error, Options, Result, SmallStr};

use super::Environment;
use super::expand::{Refused, expand};
use super::mask::mask;
use super::tree::{Leaf, Node, Table};

/// One table that is being read: each key by a typed method, then [`finish`](Self::finish).
pub(crate) struct Section {
    place: SmallStr,
    options: Options,
    leaves: BTreeMap<SmallStr, Leaf>,
    rest: Table,
    known: Vec<&'static str>,
    environment: Environment,
}

/// A value after expansion, and as errors may print it.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) text: SmallStr,
    pub(crate) shown: SmallStr,
}

impl Section {
    pub(crate) fn new(
        place: impl Into<SmallStr>,
        table: Table,
        environment: &Environment,
    ) -> Result<Self> {
        let place = place.into();
        let mut options = Options::new(place.clone());
        let mut rest = Table::new();
        let mut leaves = BTreeMap::new();
        for (name, node) in table {
            match node {
                Node::Leaf(leaf) => {
                    let value = read_leaf(&place, &name, &leaf, environment)?;
                    options.set(name.clone(), value.text, value.shown);
                    leaves.insert(name, leaf);
                }
                other => {
                    rest.insert(name, other);
                }
            }
        }
        Ok(Self {
            place,
            options,
            leaves,
            rest,
            known: Vec::new(),
            environment: environment.clone(),
        })
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.options.contains(name) || self.rest.contains_key(name)
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<SmallStr>> {
        self.know(name)?;
        self.options.text(name)
    }

    pub(crate) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.know(name)?;
        self.options.boolean(name)
    }

    pub(crate) fn number<T>(
        &mut self,
        name: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        self.know(name)?;
        self.options.number(name, range)
    }

    /// Reads a duration greater than zero.
    pub(crate) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        match self.duration_or_zero(name)? {
            Some(Duration::ZERO) => Err(self.refuse(name, "it must be greater than zero")),
            duration => Ok(duration),
        }
    }

    pub(crate) fn duration_or_zero(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.know(name)?;
        self.options.duration(name)
    }

    /// Reads a size of at least one byte that the machine can address.
    pub(crate) fn bytes(&mut self, name: &'static str) -> Result<Option<usize>> {
        self.know(name)?;
        match self.options.bytes(name)?.map(usize::try_from) {
            None => Ok(None),
            Some(Ok(0)) => Err(self.refuse(name, "it must be at least 1 byte")),
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(_)) => Err(self.refuse(name, "it is more than this machine can address")),
        }
    }

    pub(crate) fn choice(
        &mut self,
        name: &'static str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>> {
        self.know(name)?;
        self.options.choice(name, choices)
    }

    /// Reads a single value as written.
    pub(crate) fn leaf(&self, name: &str) -> Option<Leaf> {
        self.leaves.get(name).cloned()
    }

    /// Reads texts: a list, or one text separated by commas, as in the environment.
    pub(crate) fn list(&mut self, name: &'static str) -> Result<Option<Vec<SmallStr>>> {
        self.known.push(name);
        if let Some(Node::List(items, _)) = self.rest.get(name) {
            let items = items.clone();
            self.rest.remove(name);
            let values = items
                .iter()
                .map(|leaf| read_leaf(&self.place, name, leaf, &self.environment))
                .collect::<Result<Vec<_>>>()?;
            let shown: Vec<_> = values.iter().map(|value| value.shown.as_str()).collect();
            // For the errors about it.
            self.options.set(name, "", shown.join(", "));
            return Ok(Some(values.into_iter().map(|value| value.text).collect()));
        }
        self.refuse_other_shape(name, "a text or a list of texts")?;
        let text = self.options.text(name)?;
        Ok(text.map(|text| text.split(',').map(|item| item.trim().into()).collect()))
    }

    /// Returns a table within this one; empty if there is none.
    pub(crate) fn table(&mut self, name: &'static str) -> Result<Self> {
        self.known.push(name);
        let place = format!("{}.{name}", self.place);
        let table = match self.rest.remove(name) {
            Some(Node::Table(table)) => table,
            None if !self.options.contains(name) => Table::new(),
            _ => return Err(Error::config(format!("{place}: expected a table"))),
        };
        Self::new(place, table, &self.environment)
    }

    /// Adds a key that was read elsewhere to those that are valid.
    pub(crate) fn add_known(&mut self, name: &'static str) {
        self.known.push(name);
    }

    /// Returns where it stands.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Returns every single value, for tables whose keys are names.
    pub(crate) fn into_values(self) -> Result<BTreeMap<SmallStr, Value>> {
        if let Some((name, node)) = self.rest.iter().next() {
            return Err(Error::config(format!(
                "{}.{name}: expected a single value, found {}",
                self.place,
                node.describe()
            )));
        }
        let read = |(name, leaf): (SmallStr, Leaf)| {
            let value = read_leaf(&self.place, &name, &leaf, &self.environment)?;
            Ok((name, value))
        };
        self.leaves.clone().into_iter().map(read).collect()
    }

    /// Returns the error for a value that was read and cannot be used.
    pub(crate) fn refuse(&self, name: &str, why: impl fmt::Display) -> Error {
        self.options.refuse(name, why)
    }

    /// Returns the options that were not read, for a backend, and the names that were.
    pub(crate) fn into_options(self) -> Result<(Options, Vec<&'static str>)> {
        match self.rest.iter().next() {
            Some((name, node)) => Err(Error::config(format!(
                "{}.{name}: expected a single value, found {}",
                self.place,
                node.describe()
            ))),
            None => Ok((self.options, self.known)),
        }
    }

    /// Refuses keys that were not read, listing those that are valid.
    pub(crate) fn finish(mut self) -> Result<()> {
        for name in std::mem::take(&mut self.known) {
            self.options.text(name)?;
        }
        if let Some(name) = self.rest.keys().next() {
            self.options.set(name.clone(), "", "");
        }
        self.options.finish()
    }

    fn know(&mut self, name: &'static str) -> Result<()> {
        self.known.push(name);
        self.refuse_other_shape(name, "a single value")
    }

    fn refuse_other_shape(&self, name: &str, expected: &str) -> Result<()> {
        match self.rest.get(name) {
            None => Ok(()),
            Some(node) => Err(Error::config(format!(
                "{}.{name}: expected {expected}, found {}",
                self.place,
                node.describe()
            ))),
        }
    }
}

/// Returns the value of `leaf` with its references replaced.
pub(super) fn read_leaf(
    place: &str,
    name: &str,
    leaf: &Leaf,
    environment: &Environment,
) -> Result<Value> {
    read_text(place, name, &leaf.written, leaf.references, environment)
}

pub(super) fn read_text(
    place: &str,
    name: &str,
    written: &str,
    references: bool,
    environment: &Environment,
) -> Result<Value> {
    let shown = SmallStr::from(mask(name, written));
    let text = match references {
        false => SmallStr::from(written),
        true => match expand(written, |variable| environment.get(variable)) {
            Ok(text) => text.into(),
            Err(Refused::Missing(variable)) => {
                return Err(Error::config(format!(
                    "{place}.{name} = \"{shown}\": the environment has no variable {variable}"
                )));
            }
            Err(Refused::Malformed) => {
                return Err(Error::config(format!(
                    "{place}.{name} = \"{shown}\": a reference is written ${{NAME}}; a literal ${{ is written $${{"
                )));
            }
        },
    };
    Ok(Value { text, shown })
}

use std::collections::BTreeMap;
use std::fmt;

use aqueduct_core::{Error, Result, SmallStr};

use super::tree::{Leaf, Node, Table, Tree};
use super::{TABLES, list};

/// The environment that a configuration sees: for `${NAME}` references, and for the variables that
/// set keys, such as `AQUEDUCT__STREAMS__ORDERS__URL`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Environment};
///
/// let environment = Environment::from_iter([("AQUEDUCT__STREAMS__ORDERS__PARTITIONS", "8")]);
/// let client = Client::builder()
///     .toml("[streams.orders]\nurl = \"memory:\"")
///     .environment(environment)
///     .build()
///     .await?;
/// # let _ = client; Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

/// The prefix of variables that set keys.
const PREFIX: &str = "AQUEDUCT__";

impl Environment {
    /// Reads the environment of this process. Variables that are not Unicode are left out.
    pub fn process() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(unicode).collect())
    }

    /// Creates an environment without variables.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns a variable's value without a line end behind it, which secrets in files often have.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0
            .get(name)
            .map(|value| without_line_end(value).to_owned())
    }

    /// Sets the keys that variables name. A variable that matches no declared name is an error: it
    /// would change nothing, silently.
    pub(super) fn overlay(&self, tree: &mut Tree) -> Result<()> {
        let ours = self.0.range(PREFIX.to_string()..);
        for (variable, value) in ours.take_while(|(name, _)| name.starts_with(PREFIX)) {
            let path = resolve(variable, tree.root())?;
            let leaf = Leaf {
                written: without_line_end(value).into(),
                references: false,
                origin: format!("the environment variable {variable}").into(),
            };
            tree.set_leaf(&path, leaf)?;
        }
        Ok(())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self(variables.map(|(n, v)| (n.into(), v.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

fn without_line_end(value: &str) -> &str {
    value.trim_end_matches(['\r', '\n'])
}

fn resolve(variable: &str, root: &Table) -> Result<Vec<SmallStr>> {
    let refuse = |what: String| {
        Err(Error::config(format!(
            "the environment variable {variable}: {what}"
        )))
    };
    let segments: Vec<_> = variable
        .get(PREFIX.len()..)
        .unwrap_or_default()
        .split("__")
        .collect();
    let Some((table, mut rest)) = segments.split_first() else {
        return refuse("it names no key".into());
    };
    let Some(table) = TABLES.iter().find(|known| same_name(known, table)) else {
        return refuse(format!("no such table; valid: {}", TABLES.join(", ")));
    };
    let mut path = vec![SmallStr::literal(table)];
    let mut declared = match root.get(*table) {
        Some(Node::Table(inner)) => Some(inner),
        _ => None,
    };
    if *table != "client" {
        let names = declared.into_iter().flat_map(Table::keys);
        let mut found = names.clone().filter_map(|name| {
            let taken = (1..=rest.len()).find(|&n| {
                rest.get(..n)
                    .is_some_and(|part| same_name(&part.concat(), name))
            });
            taken.map(|n| (name, n))
        });
        let Some((name, taken)) = found.next() else {
            return refuse(format!(
                "it matches none of the {table}; declared: {}",
                list(names)
            ));
        };
        if let Some((other, _)) = found.next() {
            return refuse(format!(
                "it matches both {table}.{name} and {table}.{other}"
            ));
        }
        path.push(name.clone());
        declared = match declared.and_then(|table| table.get(name)) {
            Some(Node::Table(inner)) => Some(inner),
            _ => None,
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    if rest.is_empty() {
        return refuse(format!(
            "it names the table {}, not a key in it",
            path.join(".")
        ));
    }
    for segment in rest {
        if segment.is_empty() {
            return refuse("it names no key".into());
        }
        let known = declared
            .into_iter()
            .flat_map(Table::iter)
            .find(|(name, _)| same_name(name, segment));
        path.push(known.map_or_else(
            || SmallStr::from(segment.to_ascii_lowercase()),
            |(name, _)| name.clone(),
        ));
        declared = match known {
            Some((_, Node::Table(inner))) => Some(inner),
            _ => None,
        };
    }
    Ok(path)
}

/// Returns whether two names differ only in case and `-`, `_`, `.`, which variables cannot spell.
fn same_name(one: &str, other: &str) -> bool {
    fn plain(name: &str) -> impl Iterator<Item = char> + '_ {
        name.chars()
            .filter(|c| !matches!(c, '-' | '_' | '.'))
            .flat_map(char::to_lowercase)
    }
    plain(one).eq(plain(other))
}

use std::collections::BTreeMap;
use std::ops::Range;

use aqueduct_core::{Error, Result, SmallStr};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Origins;

/// The configuration before its keys are interpreted: every value is the text as written, so that
/// `"64"` and `64` are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    root: Table,
}

pub(crate) type Table = BTreeMap<SmallStr, Node>;

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Leaf(Leaf),
    List(Vec<Leaf>, Origin),
    Table(Table),
    /// An array of tables, in order.
    Tables(Vec<Table>),
}

/// One value as written.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) written: SmallStr,
    /// Whether `${...}` in it is a reference; text from the environment has none.
    pub(crate) references: bool,
    pub(crate) origin: Origin,
}

/// `shop.toml, line 7`, `the environment variable X`, or code.
pub(crate) type Origin = SmallStr;

impl Node {
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Leaf(_) => "a single value",
            Self::List(..) => "a list",
            Self::Table(_) => "a table",
            Self::Tables(_) => "a list of tables",
        }
    }
}

impl Tree {
    /// Reads TOML, overriding existing values.
    pub(crate) fn read_toml(&mut self, name: &str, text: &str) -> Result<()> {
        let parsed = DeTable::parse(text).map_err(|error| syntax_error(name, text, &error))?;
        let place =
            |span: Range<usize>| SmallStr::from(format!("{name}, line {}", line(text, &span)));
        merge(&mut self.root, read_table(&parsed.into_inner(), &place)?);
        Ok(())
    }

    /// Sets one key, such as `streams.orders.url`, from code.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let assignment = format!("{key} = 0");
        let refuse = || {
            Error::config(format!(
                "`{key}` is not a key (expected, for example, streams.orders.url or streams.\"a.b\".url)"
            ))
        };
        let parsed = DeTable::parse(&assignment).map_err(|_| refuse())?;
        let mut path = Vec::new();
        let mut table = parsed.get_ref();
        loop {
            let Some((name, node)) = table.iter().next() else {
                return Err(refuse());
            };
            path.push(SmallStr::from(name.get_ref().as_ref()));
            match node.get_ref() {
                DeValue::Table(inner) => table = inner,
                DeValue::Integer(_) if table.len() == 1 => break,
                _ => return Err(refuse()),
            }
        }
        let leaf = Leaf {
            written: value.into(),
            references: true,
            origin: SmallStr::literal("code"),
        };
        self.set_leaf(&path, leaf)
    }

    /// Puts `leaf` at `path`, creating the tables above it.
    pub(crate) fn set_leaf(&mut self, path: &[SmallStr], leaf: Leaf) -> Result<()> {
        let Some((last, tables)) = path.split_last() else {
            return Ok(());
        };
        let mut table = &mut self.root;
        for name in tables {
            let next = table
                .entry(name.clone())
                .or_insert_with(|| Node::Table(Table::new()));
            table = match next {
                Node::Table(inner) => inner,
                other => {
                    return Err(Error::config(format!(
                        "{}: {name} is {}, not a table",
                        leaf.origin,
                        other.describe()
                    )));
                }
            };
        }
        if let Some(Node::Table(_)) = table.get(last) {
            return Err(Error::config(format!(
                "{}: {} is a table, not a value",
                leaf.origin,
                path.join(".")
            )));
        }
        table.insert(last.clone(), Node::Leaf(leaf));
        Ok(())
    }

    pub(crate) fn root(&self) -> &Table {
        &self.root
    }

    pub(crate) fn into_root(self) -> Table {
        self.root
    }

    /// Returns where each value was written, by its dotted key.
    pub(crate) fn origins(&self) -> Origins {
        let mut origins = BTreeMap::new();
        collect_origins("", &self.root, &mut origins);
        Origins(origins)
    }
}

fn collect_origins(prefix: &str, table: &Table, into: &mut BTreeMap<String, String>) {
    for (name, node) in table {
        let key = match prefix {
            "" => name.to_string(),
            _ => format!("{prefix}.{name}"),
        };
        match node {
            Node::Leaf(Leaf { origin, .. }) | Node::List(_, origin) => {
                into.insert(key, origin.to_string());
            }
            Node::Table(inner) => collect_origins(&key, inner, into),
            Node::Tables(tables) => {
                for (at, inner) in tables.iter().enumerate() {
                    collect_origins(&format!("{key}.{}", at + 1), inner, into);
                }
            }
        }
    }
}

fn read_table(table: &DeTable<'_>, place: &dyn Fn(Range<usize>) -> SmallStr) -> Result<Table> {
    table
        .iter()
        .map(|(name, value)| {
            let name = SmallStr::from(name.get_ref().as_ref());
            Ok((name.clone(), read_node(&name, value, place)?))
        })
        .collect()
}

fn read_node(
    name: &SmallStr,
    value: &Spanned<DeValue<'_>>,
    place: &dyn Fn(Range<usize>) -> SmallStr,
) -> Result<Node> {
    match value.get_ref() {
        DeValue::Table(table) => read_table(table, place).map(Node::Table),
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::Table(table) => read_table(table, place),
                _ => Err(Error::config(format!(
                    "{}: {name}: a list holds tables or single values, not both",
                    place(item.span())
                ))),
            })
            .collect::<Result<_>>()
            .map(Node::Tables),
        DeValue::Array(items) => items
            .iter()
            .map(|item| match read_node(name, item, place)? {
                Node::Leaf(leaf) => Ok(leaf),
                other => Err(Error::config(format!(
                    "{}: {name}: a list holds single values, found {}",
                    place(item.span()),
                    other.describe()
                ))),
            })
            .collect::<Result<_>>()
            .map(|items| Node::List(items, place(value.span()))),
        single => Ok(Node::Leaf(Leaf {
            written: text_of(single),
            references: matches!(single, DeValue::String(_)),
            origin: place(value.span()),
        })),
    }
}

fn text_of(value: &DeValue<'_>) -> SmallStr {
    match value {
        DeValue::String(text) => SmallStr::from(text.as_ref()),
        DeValue::Integer(number) => {
            let decimal = i64::from_str_radix(number.as_str(), number.radix());
            decimal.map_or_else(
                |_| number.as_str().into(),
                |n| SmallStr::from(n.to_string()),
            )
        }
        DeValue::Float(number) => number.as_str().into(),
        DeValue::Boolean(flag) => SmallStr::literal(if *flag { "true" } else { "false" }),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(_) | DeValue::Table(_) => SmallStr::default(),
    }
}

fn merge(into: &mut Table, from: Table) {
    for (name, node) in from {
        match (into.get_mut(&name), node) {
            (Some(Node::Table(old)), Node::Table(new)) => merge(old, new),
            (_, node) => {
                into.insert(name, node);
            }
        }
    }
}

/// Returns an error without the quoted line of the parser's message: it may hold a secret.
fn syntax_error(name: &str, text: &str, error: &toml::de::Error) -> Error {
    let place = error.span().map_or_else(
        || name.to_string(),
        |span| format!("{name}, line {}", line(text, &span)),
    );
    Error::config(format!("{place}: not TOML: {}", error.message()))
}

fn line(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or(text);
    before.bytes().filter(|byte| *byte == b'\n').count() + 1
}

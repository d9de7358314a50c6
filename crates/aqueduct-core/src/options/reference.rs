use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// One row of an option table: options that are explained together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionDoc {
    /// The names, as they are written in the configuration.
    pub names: &'static [&'static str],
    /// The default, in Markdown; one for each name, with commas between them.
    pub default: &'static str,
    /// The meaning and the reason of the default, in Markdown.
    pub meaning: &'static str,
}

impl OptionDoc {
    /// Returns the row of those options.
    pub const fn new(
        names: &'static [&'static str],
        default: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self {
            names,
            default,
            meaning,
        }
    }
}

/// The options that are documented in one table.
///
/// ```
/// use aqueduct_core::{OptionDoc, OptionTable};
///
/// const ROWS: &[OptionDoc] = &[OptionDoc::new(&["partitions"], "`4`", "of a new stream")];
/// let table = OptionTable::new("memory", ROWS);
/// assert!(table.markdown().ends_with("| `partitions` | `4` | of a new stream |\n"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionTable {
    /// The title, such as `kinesis` or `client`.
    pub title: &'static str,
    /// The rows, in the order of the table.
    pub rows: &'static [OptionDoc],
}

impl OptionTable {
    /// Returns the table of those rows.
    pub const fn new(title: &'static str, rows: &'static [OptionDoc]) -> Self {
        Self { title, rows }
    }

    /// Returns every name in it.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.rows.iter().flat_map(|row| row.names.iter().copied())
    }

    /// Returns the table in Markdown.
    pub fn markdown(&self) -> String {
        let mut table = String::from("| option | default | meaning |\n|---|---|---|\n");
        for row in self.rows {
            let names: Vec<_> = row.names.iter().map(|name| format!("`{name}`")).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "| {} | {} | {} |",
                names.join(", "),
                row.default,
                row.meaning
            );
        }
        table
    }
}

/// Collects the names of the options that a reader knows. Clones share the names.
#[derive(Clone, Debug, Default)]
pub struct OptionRecorder(Arc<Mutex<BTreeSet<&'static str>>>);

impl OptionRecorder {
    /// Returns the names that were read.
    pub fn names(&self) -> BTreeSet<&'static str> {
        lock(&self.0).clone()
    }

    pub(super) fn note(&self, name: &'static str) {
        let mut names = lock(&self.0);
        names.insert(name);
    }
}

use aqueduct_core::{Error, SmallStr};

use super::Environment;
use super::tree::{Leaf, Node, Table};

/// The values of the variables that a configuration refers to. In an error of any backend that
/// quotes one, it is replaced by the reference.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<Variable>);

#[derive(Clone)]
struct Variable {
    reference: String,
    /// In lower case: a URL's host is.
    value: String,
}

/// The shortest value that is replaced. A shorter one is not a secret, and occurs in many words.
const SHORTEST: usize = 4;

impl Secrets {
    /// Collects the references in `root`.
    pub(super) fn collect(root: &Table, environment: &Environment) -> Self {
        let mut secrets = Self::default();
        secrets.visit(root, environment);
        // If one value contains another, replace the longer one first, so that no rest of it
        // remains.
        secrets
            .0
            .sort_by_key(|variable| std::cmp::Reverse(variable.value.len()));
        secrets
    }

    /// Returns the error with references in place of their values.
    pub(crate) fn scrub(&self, error: Error) -> Error {
        let scrubbed = self.scrubbed(error.message());
        match scrubbed {
            Some(message) => error.with_message(message),
            None => error,
        }
    }

    fn scrubbed(&self, message: &str) -> Option<String> {
        let mut changed = None;
        for variable in &self.0 {
            let text: &str = changed.as_deref().unwrap_or(message);
            if let Some(text) = replace(text, variable) {
                changed = Some(text);
            }
        }
        changed
    }

    fn visit(&mut self, table: &Table, environment: &Environment) {
        for node in table.values() {
            match node {
                Node::Leaf(leaf) => self.add(leaf, environment),
                Node::List(leaves, _) => leaves.iter().for_each(|leaf| self.add(leaf, environment)),
                Node::Table(inner) => self.visit(inner, environment),
                Node::Tables(tables) => {
                    tables
                        .iter()
                        .for_each(|inner| self.visit(inner, environment));
                }
            }
        }
    }

    fn add(&mut self, leaf: &Leaf, environment: &Environment) {
        if !leaf.references {
            return;
        }
        for part in leaf.written.split("${").skip(1) {
            let Some((name, _)) = part.split_once('}') else {
                continue;
            };
            let Some(value) = environment.get(name) else {
                continue;
            };
            let reference = format!("${{{name}}}");
            let encoded = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            for value in [value, encoded] {
                let value = value.to_ascii_lowercase();
                let known = self.0.iter().any(|known| known.value == value);
                if value.len() >= SHORTEST && !known {
                    self.0.push(Variable {
                        reference: reference.clone(),
                        value,
                    });
                }
            }
        }
    }
}

/// Replaces the value, ignoring case; `None` if it does not occur.
fn replace(text: &str, variable: &Variable) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let mut replaced = String::new();
    let mut from = 0;
    for (at, found) in lower.match_indices(&variable.value) {
        // ASCII case keeps lengths, so the places are the same in both.
        replaced.push_str(text.get(from..at)?);
        replaced.push_str(&variable.reference);
        from = at + found.len();
    }
    if from == 0 {
        return None;
    }
    replaced.push_str(text.get(from..)?);
    Some(replaced)
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self
            .0
            .iter()
            .map(|variable| SmallStr::from(variable.reference.as_str()));
        f.debug_set().entries(names).finish()
    }
}

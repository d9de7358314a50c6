//! Finds dependencies that no source names.

use std::fs;
use std::path::Path;

use crate::workspace::{Member, members, sources};

/// Fails if a member has a dependency that its sources do not name.
pub(crate) fn run() -> Result<(), String> {
    let mut unused = Vec::new();
    for member in members()? {
        unused.extend(check(&member));
    }
    match unused.is_empty() {
        true => Ok(()),
        false => Err(format!("unused dependencies:\n  {}", unused.join("\n  "))),
    }
}

fn check(member: &Member) -> Vec<String> {
    let code = read(&member.folder.join("src"));
    let mut everything = code.clone();
    for folder in ["tests", "examples", "benches"] {
        everything.push_str(&read(&member.folder.join(folder)));
    }
    // Examples in pages and in doc comments are compiled as tests.
    everything.push_str(&fs::read_to_string(member.folder.join("README.md")).unwrap_or_default());
    let code = without_comments(&code);
    let manifest = fs::read_to_string(member.folder.join("Cargo.toml")).unwrap_or_default();
    let unused = member.dependencies.iter().filter(|dependency| {
        let text = if dependency.dev { &everything } else { &code };
        !names(text, &dependency.identifier) && !for_features(&manifest, &dependency.name)
    });
    unused
        .map(|it| format!("{} does not use {}", member.name, it.name))
        .collect()
}

/// Returns whether the manifest says that a dependency is there to turn on features of it:
/// `# for its features` above its line.
fn for_features(manifest: &str, dependency: &str) -> bool {
    let mut before = "";
    for line in manifest.lines() {
        let rest = line.strip_prefix(dependency);
        if rest.is_some_and(|rest| rest.starts_with([' ', '.', '='])) {
            return before.contains("for its features");
        }
        before = line;
    }
    false
}

fn read(folder: &Path) -> String {
    let mut text = String::new();
    for path in sources(folder) {
        text.push_str(&fs::read_to_string(path).unwrap_or_default());
        text.push('\n');
    }
    text
}

fn without_comments(code: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// Returns whether `text` has `identifier` as a word of its own.
fn names(text: &str, identifier: &str) -> bool {
    let part_of_word = |it: char| it.is_alphanumeric() || it == '_' || it == '-';
    text.match_indices(identifier).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_found_as_a_word_alone() {
        assert!(names("use serde::Serialize;", "serde"));
        assert!(names("#[serde(default)]", "serde"));
        assert!(!names("use serde_json::json;", "serde"));
        assert!(!names("let my_serde = 1;", "serde"));
    }

    #[test]
    fn comments_are_not_uses() {
        assert!(!names(
            &without_comments("  /// tracing\n// tracing\nlet x = 1;"),
            "tracing"
        ));
    }

    #[test]
    fn a_dependency_for_its_features_says_so() {
        let manifest = "# for its features: rustls\nhyper.workspace = true\ntokio = \"1\"\n";
        assert!(for_features(manifest, "hyper"));
        assert!(!for_features(manifest, "tokio"));
    }
}

//! The checker itself: right histories are accepted, a wrong one of each kind is refused.

#![allow(clippy::unwrap_used)]

mod files;
mod kills;
mod kinds;

use aqueduct_history::{Kind, check, read};

/// Two events of one key and one of another, a failure, a dead letter, a hand-off, a flush, and the end.
const RIGHT: &str = include_str!("right.jsonl");

/// Returns the kinds of findings of a history, in order, each once.
fn kinds(history: &str) -> Vec<Kind> {
    let records = read(history.as_bytes()).unwrap();
    let verdict = check(&records);
    let mut kinds: Vec<_> = verdict.findings.iter().map(|it| it.kind).collect();
    kinds.dedup();
    kinds
}

/// Returns the right history with one piece replaced, which must be there once.
fn with(before: &str, after: &str) -> String {
    assert_eq!(RIGHT.matches(before).count(), 1, "{before}");
    RIGHT.replace(before, after)
}

/// Returns the right history without the line that has that piece.
fn without(piece: &str) -> String {
    let lines = RIGHT.lines().filter(|line| !line.contains(piece));
    let kept: Vec<_> = lines.collect();
    assert_eq!(kept.len() + 1, RIGHT.lines().count(), "{piece}");
    kept.join("\n")
}

/// Returns the right history with a line behind the one that has that piece.
fn behind(piece: &str, line: &str) -> String {
    assert_eq!(RIGHT.matches(piece).count(), 1, "{piece}");
    let mut lines = Vec::new();
    for it in RIGHT.lines() {
        lines.push(it);
        if it.contains(piece) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

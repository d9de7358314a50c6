use std::cmp::Ordering;
use std::fmt;

use aqueduct_core::SmallStr;

/// A text in which `*` stands for any run of characters, the empty one included.
///
/// ```
/// use aqueduct_routing::Pattern;
///
/// let pattern = Pattern::new("order.*.failed");
/// assert!(pattern.matches("order.payment.failed"));
/// assert!(!pattern.matches("order.failed"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(SmallStr);

impl Pattern {
    /// Returns the pattern of that text.
    pub fn new(text: impl Into<SmallStr>) -> Self {
        Self(text.into())
    }

    /// Returns the text that it was made of.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it has no `*`.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Returns whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return *self.0 == *text;
        };
        let Some(mut text) = text.strip_prefix(start) else {
            return false;
        };
        let Some((middle, end)) = rest.rsplit_once('*') else {
            return text.ends_with(rest);
        };
        // The leftmost match of each part leaves the most for those behind it.
        for part in middle.split('*') {
            match text.find(part) {
                Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        text.ends_with(end)
    }

    /// Orders patterns from the most specific to the least: exact ones first, then by how many
    /// characters are not `*`, then by text.
    pub(crate) fn by_specificity(&self, other: &Self) -> Ordering {
        let literal = |it: &Self| it.0.chars().filter(|c| *c != '*').count();
        other
            .is_exact()
            .cmp(&self.is_exact())
            .then_with(|| literal(other).cmp(&literal(self)))
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tries every length for every `*`.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
            Some((byte, rest)) => text
                .split_first()
                .is_some_and(|(first, after)| first == byte && naive(rest, after)),
        }
    }

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, yes, no) in [
            ("order.placed", "order.placed", "order.placed2"),
            ("order.*", "order.", "orders"),
            ("*.failed", "a.b.failed", "failed"),
            ("a*b*a", "aba", "ab"),
            ("aa*aa", "aaaa", "aaa"),
            ("*", "", "\u{0}never"),
            ("", "", "x"),
            ("ä*ü", "äöü", "äö"),
        ] {
            assert!(Pattern::new(pattern).matches(yes), "{pattern} {yes}");
            let refused = no == "\u{0}never" || !Pattern::new(pattern).matches(no);
            assert!(refused, "{pattern} {no}");
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_trying_everything_does(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
            let expected = naive(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Pattern::new(pattern.as_str()).matches(&text), expected);
        }
    }
}

use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_core::{Error, Event, Result, SmallStr};

use super::batch::{AnyBatchHandler, BatchOptions};
use super::extract::Setup;
use super::handler::AnyHandler;

/// The handlers of a worker by event type: exact, by prefix (`order.*`), or all (`*`). The longest match
/// wins.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    exact: BTreeMap<SmallStr, usize>,
    /// Longest first; the empty prefix is `*`.
    prefixes: Vec<(SmallStr, usize)>,
    entries: Vec<Entry>,
}

#[derive(Clone)]
pub(crate) enum Entry {
    Single(Arc<dyn AnyHandler>),
    Batch(Arc<dyn AnyBatchHandler>, BatchOptions),
}

impl Routes {
    pub(crate) fn add(&mut self, pattern: &str, entry: Entry) -> Result<()> {
        let at = self.entries.len();
        let twice = || Error::config(format!("two handlers take the event type `{pattern}`"));
        if pattern.is_empty() || pattern.trim_end_matches('*').len() + 1 < pattern.len() {
            return Err(refuse(pattern));
        }
        match pattern.strip_suffix('*') {
            Some(prefix) if prefix.contains('*') => return Err(refuse(pattern)),
            Some(prefix) => {
                if self.prefixes.iter().any(|(known, _)| *known == prefix) {
                    return Err(twice());
                }
                let shorter = |(known, _): &(SmallStr, usize)| known.len() < prefix.len();
                let place = self.prefixes.iter().position(shorter);
                let place = place.unwrap_or(self.prefixes.len());
                self.prefixes.insert(place, (prefix.into(), at));
            }
            None if pattern.contains('*') => return Err(refuse(pattern)),
            None => {
                if self.exact.insert(pattern.into(), at).is_some() {
                    return Err(twice());
                }
            }
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Returns the number of the handler for that type.
    pub(crate) fn find(&self, kind: &str) -> Option<usize> {
        let by_prefix = || {
            let found = self
                .prefixes
                .iter()
                .find(|(prefix, _)| kind.starts_with(prefix.as_str()));
            found.map(|(_, at)| *at)
        };
        let exact = self.exact.get(kind).copied();
        // A handler of all types expects events, not damaged records.
        exact.or_else(|| by_prefix().filter(|_| kind != Event::DAMAGED.as_str()))
    }

    pub(crate) fn entry(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn check(&self, setup: &Setup) -> Result<()> {
        self.entries.iter().try_for_each(|entry| match entry {
            Entry::Single(handler) => handler.check(setup),
            Entry::Batch(handler, _) => handler.check(setup),
        })
    }
}

fn refuse(pattern: &str) -> Error {
    Error::config(format!(
        "invalid event type pattern `{pattern}` (expected a type such as order.placed, a prefix such \
         as order.*, or * for all)"
    ))
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;

    use super::super::handler::Erased;
    use super::*;

    fn routes(patterns: &[&str]) -> Result<Routes> {
        let mut routes = Routes::default();
        for pattern in patterns {
            let handler = Erased::<_, ()>(|| async {}, PhantomData);
            routes.add(pattern, Entry::Single(Arc::new(handler)))?;
        }
        Ok(routes)
    }

    #[test]
    fn the_longest_match_wins() {
        let routes = routes(&["*", "order.*", "order.placed", "order.placed.*"]).unwrap();
        for (kind, expected) in [
            ("order.placed", 2),
            ("order.placed.late", 3),
            ("order.paid", 1),
            ("order.", 1),
            ("orders", 0),
        ] {
            assert_eq!(routes.find(kind), Some(expected), "{kind}");
        }
    }

    #[test]
    fn only_a_handler_of_damaged_records_takes_them() {
        let damaged = Event::DAMAGED;
        assert_eq!(routes(&["*", "io.*"]).unwrap().find(&damaged), None);
        let both = routes(&["*", &damaged]).unwrap();
        assert_eq!(both.find(&damaged), Some(1));
    }

    #[test]
    fn wrong_and_doubled_patterns_are_refused_by_name() {
        for (patterns, said) in [
            (&["a", "a"][..], "two handlers take the event type `a`"),
            (&["a.*", "a.*"][..], "`a.*`"),
            (&["*", "*"][..], "`*`"),
            (&["a*b"][..], "invalid event type pattern"),
            (&["**"][..], "invalid event type pattern"),
            (&[""][..], "invalid event type pattern"),
        ] {
            let error = routes(patterns).err().unwrap().to_string();
            assert!(error.contains(said), "{patterns:?}: {error}");
        }
        assert_eq!(routes(&["a"]).unwrap().find("b"), None);
    }
}

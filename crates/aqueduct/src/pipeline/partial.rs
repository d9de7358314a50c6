use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use aqueduct_core::sync::lock;
use aqueduct_core::{EventId, SmallStr};

/// The most events that are remembered. One that is forgotten is sent to all of its targets again.
const MOST: usize = 10_000;

/// The targets that lack events which others have already, until these events come again.
#[derive(Default)]
pub(super) struct Partial(Mutex<Known>);

#[derive(Default)]
struct Known {
    remaining: HashMap<Identity, Remaining>,
    /// Oldest first; may name some that were taken since.
    order: VecDeque<Identity>,
}

/// Source and id.
type Identity = (SmallStr, EventId);

/// The targets of an event whose choice is made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    /// Those that lack it.
    pub(super) streams: Vec<SmallStr>,
    /// Those that have it.
    pub(super) stored: Vec<SmallStr>,
}

impl Remaining {
    pub(super) fn new(streams: Vec<SmallStr>) -> Self {
        Self {
            streams,
            stored: Vec::new(),
        }
    }
}

impl Partial {
    pub(super) fn take(&self, identity: &Identity) -> Option<Remaining> {
        lock(&self.0).remaining.remove(identity)
    }

    pub(super) fn put(&self, identity: Identity, remaining: Remaining) {
        let mut known = lock(&self.0);
        // Events whose partition went to another member never come again here.
        while known.order.len() >= MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.remaining.remove(&oldest);
            }
        }
        known.order.push_back(identity.clone());
        known.remaining.insert(identity, remaining);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(n: usize) -> Identity {
        ("/s".into(), format!("{n}").into())
    }

    fn lacking(stream: &str) -> Remaining {
        Remaining::new(vec![stream.into()])
    }

    #[test]
    fn the_oldest_are_forgotten_first_and_memory_is_bounded() {
        let partial = Partial::default();
        for n in 0..MOST + 5 {
            partial.put(identity(n), lacking("a"));
        }
        assert_eq!(partial.take(&identity(4)), None);
        assert_eq!(partial.take(&identity(5)), Some(lacking("a")));
        assert_eq!(partial.take(&identity(5)), None);
        for n in 0..3 * MOST {
            partial.put(identity(n % 7), lacking("b"));
            assert!(lock(&partial.0).order.len() <= MOST);
        }
    }
}

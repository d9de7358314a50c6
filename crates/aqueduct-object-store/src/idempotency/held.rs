use std::collections::HashMap;
use std::sync::Mutex;

use aqueduct_core::sync::lock;

use super::record::Stored;
use crate::bucket::Version;

/// The most claims remembered: more than a group has in flight with its defaults.
const MOST: usize = 100_000;

/// The claims of this process as written, so that a completion need not read its record first.
#[derive(Default)]
pub(super) struct HeldClaims(Mutex<HashMap<String, (Stored, Version)>>);

impl HeldClaims {
    pub(super) fn get(&self, name: &str) -> Option<(Stored, Version)> {
        lock(&self.0).get(name).cloned()
    }

    /// Remembers a claim that is still open, and forgets any other state.
    pub(super) fn keep(&self, name: &str, stored: &Stored, version: &Version) {
        let mut held = lock(&self.0);
        if stored.released || stored.record.completed {
            held.remove(name);
            return;
        }
        // Forgetting costs a read each, no more.
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(name.to_owned(), (stored.clone(), version.clone()));
    }

    pub(super) fn forget(&self, name: &str) {
        lock(&self.0).remove(name);
    }
}

use std::collections::{BTreeMap, VecDeque};

use aqueduct_core::{Instant, SmallStr};

/// What is remembered of messages that went back to the queue, or were deleted.
#[derive(Debug, Default)]
pub(super) struct Memory {
    notes: BTreeMap<SmallStr, Note>,
    order: VecDeque<SmallStr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Failed attempts.
    pub(super) runs: u32,
    /// Not to be handled again before.
    pub(super) until: Option<Instant>,
    /// It is handled: if it comes again, it is deleted again.
    pub(super) done: bool,
}

impl Memory {
    /// Some megabytes, and minutes at a thousand messages a second that all fail.
    const MOST: usize = 20_000;

    pub(super) fn note(&mut self, message: SmallStr, note: Note) {
        if self.notes.insert(message.clone(), note).is_none() {
            self.order.push_back(message);
        }
        while self.order.len() > Self::MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.notes.remove(&oldest);
            }
        }
    }

    pub(super) fn of(&self, message: &SmallStr) -> Note {
        self.notes.get(message).copied().unwrap_or_default()
    }
}

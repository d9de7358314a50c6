use std::collections::{HashMap, VecDeque};

use aqueduct_core::{Instant, SmallStr};

/// Notes on messages that were released or acknowledged, by the service's id.
#[derive(Debug, Default)]
pub(super) struct Recent {
    notes: HashMap<SmallStr, Note>,
    order: VecDeque<SmallStr>,
    /// Messages that came again while in flight or after they were handled: for metrics.
    pub(super) repeated: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Failed attempts.
    pub(super) runs: u32,
    /// Not to be handled before.
    pub(super) until: Option<Instant>,
    /// It was handled: if it comes again, it is acknowledged again, unseen.
    pub(super) done: bool,
}

impl Recent {
    /// Some megabytes; minutes, at a thousand failing messages a second.
    const MOST: usize = 20_000;

    pub(super) fn note(&mut self, id: SmallStr, note: Note) {
        if self.notes.insert(id.clone(), note).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > Self::MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.notes.remove(&oldest);
            }
        }
    }

    pub(super) fn note_done(&mut self, id: SmallStr) {
        let note = Note {
            done: true,
            ..Note::default()
        };
        self.note(id, note);
    }

    pub(super) fn of(&self, id: &SmallStr) -> Note {
        self.notes.get(id).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_note_is_forgotten_first() {
        let mut recent = Recent::default();
        for n in 0..=Recent::MOST {
            recent.note_done(n.to_string().into());
        }
        assert!(!recent.of(&"0".into()).done && recent.of(&"1".into()).done);
    }
}

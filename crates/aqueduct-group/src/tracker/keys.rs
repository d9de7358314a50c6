use std::hash::BuildHasher as _;

use aqueduct_core::hash::SeededHash;
use aqueduct_core::{Event, SmallStr};
use hashbrown::HashTable;

use super::slots::{NONE, Slots};

/// The keys that have unsettled events, each with a chain of them in order.
#[derive(Debug)]
pub(super) struct Keys {
    table: HashTable<u32>,
    all: Vec<Key>,
    free: u32,
    hasher: SeededHash,
    parked: usize,
}

#[derive(Debug)]
struct Key {
    text: SmallStr,
    hash: u64,
    /// The first and last of the chain; a free key keeps the next free one in `first`.
    first: u32,
    last: u32,
    events: u32,
    troubled: u32,
}

impl Key {
    /// How many events wait behind failing ones of this key.
    fn parked(&self) -> usize {
        match self.troubled {
            0 => 0,
            troubled => (self.events - troubled) as usize,
        }
    }
}

impl Keys {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            table: HashTable::new(),
            all: Vec::new(),
            free: NONE,
            hasher: SeededHash::new(seed),
            parked: 0,
        }
    }

    /// Events parked behind failing keys.
    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    pub(super) fn text(&self, key: u32) -> Option<&SmallStr> {
        self.all.get(key as usize).map(|key| &key.text)
    }

    pub(super) fn is_troubled(&self, key: u32) -> bool {
        self.all
            .get(key as usize)
            .is_some_and(|key| key.troubled > 0)
    }

    /// Appends the event at `at` to the chain of its key, if it has one.
    #[inline]
    pub(super) fn append(&mut self, slots: &mut Slots, at: u32) {
        if let Some(key) = slots.event_mut(at).as_ref().and_then(Event::key_text) {
            let hash = self.hasher.hash_one(key.as_str());
            let key = self
                .find(key, hash)
                .unwrap_or_else(|| self.insert(key.clone(), hash));
            self.link(slots, at, key);
        }
    }

    /// Takes a settled event out of its chain; returns the event that comes first now, if it is
    /// another.
    pub(super) fn unlink(&mut self, slots: &mut Slots, at: u32) -> Option<u32> {
        let slot = slots.at(at);
        let (key, before, behind, troubled) = (slot.key, slot.before, slot.behind, slot.troubled);
        let chain = self.all.get_mut(key as usize)?;
        if before == NONE && behind == NONE {
            self.remove(key);
            return None;
        }
        self.parked -= chain.parked();
        chain.events -= 1;
        chain.troubled -= u32::from(troubled);
        self.parked += chain.parked();
        if behind == NONE {
            chain.last = before;
        } else {
            slots.at_mut(behind).before = before;
        }
        if before == NONE {
            chain.first = behind;
            Some(behind)
        } else {
            slots.at_mut(before).behind = behind;
            None
        }
    }

    /// Notes that an event of that key now holds back those behind it.
    pub(super) fn trouble(&mut self, key: u32) {
        if let Some(chain) = self.all.get_mut(key as usize) {
            self.parked -= chain.parked();
            chain.troubled += 1;
            self.parked += chain.parked();
        }
    }

    fn find(&self, text: &SmallStr, hash: u64) -> Option<u32> {
        let is_it = |key: &u32| self.all[*key as usize].text == *text;
        self.table.find(hash, is_it).copied()
    }

    fn link(&mut self, slots: &mut Slots, at: u32, key: u32) {
        let chain = &mut self.all[key as usize];
        let last = std::mem::replace(&mut chain.last, at);
        self.parked -= chain.parked();
        chain.events += 1;
        self.parked += chain.parked();
        if last == NONE {
            chain.first = at;
        } else {
            slots.at_mut(last).behind = at;
        }
        let slot = slots.at_mut(at);
        slot.key = key;
        slot.before = last;
    }

    fn insert(&mut self, text: SmallStr, hash: u64) -> u32 {
        let key = Key {
            text,
            hash,
            first: NONE,
            last: NONE,
            events: 0,
            troubled: 0,
        };
        let at = if self.free == NONE {
            self.all.push(key);
            (self.all.len() - 1) as u32
        } else {
            let at = self.free;
            self.free = std::mem::replace(&mut self.all[at as usize], key).first;
            at
        };
        let all = &self.all;
        self.table
            .insert_unique(hash, at, |key| all[*key as usize].hash);
        at
    }

    fn remove(&mut self, at: u32) {
        let key = &mut self.all[at as usize];
        self.parked -= key.parked();
        key.text = SmallStr::default();
        key.first = std::mem::replace(&mut self.free, at);
        if let Ok(entry) = self.table.find_entry(key.hash, |found| *found == at) {
            entry.remove();
        }
    }
}

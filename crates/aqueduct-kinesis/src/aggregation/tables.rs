//! Builds the key tables of an aggregate: each key once, as a Protobuf field.

use aqueduct_core::protobuf_wire::{length_tag, put_varint, varint_size};
use std::hash::BuildHasher as _;
use std::io::Write as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The index of a key in its table, present or to be added.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) index: usize,
    /// The growth of the table in bytes; 0 if the key is present.
    pub(super) grows: usize,
    hash: u64,
}

/// A table of partition keys.
#[derive(Default)]
pub(super) struct Texts {
    fields: Vec<u8>,
    places: Vec<(usize, usize)>,
    found: HashTable<u32>,
    hasher: RandomState,
    last: usize,
}

impl Texts {
    pub(super) fn fields(&self) -> &[u8] {
        &self.fields
    }

    #[inline]
    pub(super) fn find(&self, text: &str) -> Slot {
        if self.text(self.last) == Some(text.as_bytes()) {
            return Slot {
                index: self.last,
                grows: 0,
                hash: 0,
            };
        }
        let hash = self.hasher.hash_one(text);
        let found = self.found.find(hash, |&index| {
            self.text(index as usize) == Some(text.as_bytes())
        });
        match found {
            Some(&index) => Slot {
                index: index as usize,
                grows: 0,
                hash,
            },
            None => Slot {
                index: self.places.len(),
                grows: 1 + varint_size(text.len() as u64) + text.len(),
                hash,
            },
        }
    }

    /// Adds the key unless it is present; `slot` comes from the preceding `find`.
    #[inline]
    pub(super) fn put(&mut self, field: u32, text: &str, slot: Slot) {
        self.last = slot.index;
        if slot.grows == 0 {
            return;
        }
        self.fields.push(length_tag(field));
        put_varint(&mut self.fields, text.len() as u64);
        let from = self.fields.len();
        self.fields.extend_from_slice(text.as_bytes());
        self.places.push((from, self.fields.len()));
        let Self {
            fields,
            places,
            found,
            hasher,
            ..
        } = self;
        found.insert_unique(slot.hash, slot.index as u32, |&index| {
            let (from, to) = places[index as usize];
            // Hashes as `str` does: the bytes and a terminator.
            hasher.hash_one(std::str::from_utf8(&fields[from..to]).unwrap_or_default())
        });
    }

    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.places.clear();
        self.found.clear();
        self.last = 0;
    }

    #[inline]
    fn text(&self, index: usize) -> Option<&[u8]> {
        let &(from, to) = self.places.get(index)?;
        Some(&self.fields[from..to])
    }
}

/// A table of explicit hash keys, written as decimal numbers.
#[derive(Default)]
pub(super) struct Numbers {
    fields: Vec<u8>,
    all: Vec<u128>,
    found: HashTable<u32>,
    hasher: RandomState,
}

impl Numbers {
    pub(super) fn fields(&self) -> &[u8] {
        &self.fields
    }

    #[inline]
    pub(super) fn find(&self, number: u128) -> Slot {
        let hash = self.hasher.hash_one(number);
        match self
            .found
            .find(hash, |&index| self.all[index as usize] == number)
        {
            Some(&index) => Slot {
                index: index as usize,
                grows: 0,
                hash,
            },
            // 39 digits at most, so their length is one byte.
            None => Slot {
                index: self.all.len(),
                grows: 2 + digits(number),
                hash,
            },
        }
    }

    #[inline]
    pub(super) fn put(&mut self, field: u32, number: u128, slot: Slot) {
        if slot.grows == 0 {
            return;
        }
        self.fields.push(length_tag(field));
        put_varint(&mut self.fields, digits(number) as u64);
        let _ = write!(self.fields, "{number}");
        self.all.push(number);
        let Self {
            all, found, hasher, ..
        } = self;
        found.insert_unique(slot.hash, slot.index as u32, |&index| {
            hasher.hash_one(all[index as usize])
        });
    }

    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.all.clear();
        self.found.clear();
    }
}

fn digits(number: u128) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

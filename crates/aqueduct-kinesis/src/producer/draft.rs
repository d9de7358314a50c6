use std::hash::BuildHasher as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqueduct_core::{Error, ErrorKind, Event, Limits, Result};
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::entries::{Entries, entry};
use super::fill::{Fill, Spare};
use super::ledger::{KeyId, Ledger};
use super::schedule::Slot;
use crate::config::Encoding;
use crate::encoding::{self, explicit_hash, partition_key};
use crate::hash::{KnownHashes, hash_of};
use crate::shards::ShardMap;

/// Makes records of events.
pub(super) struct Drafter {
    pub(super) encoding: Encoding,
    /// The largest aggregated record; `None`: each event has its own.
    aggregate: Option<usize>,
    record_bytes: usize,
    pub(super) limits: Limits,
    hasher: RandomState,
    /// Where the next events without a key go.
    pub(super) turn: AtomicUsize,
    pub(super) spare: Mutex<Vec<Spare>>,
    /// Where keys lie that were asked for one by one.
    known: Mutex<KnownHashes>,
}

/// The records of one call.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) slots: Vec<Slot>,
    pub(super) items: Vec<Item>,
    pub(super) entries: Entries,
    /// The events of the records, one record after the other.
    pub(super) members: Vec<u32>,
    /// The key of each event.
    pub(super) keys: Vec<KeyId>,
    /// The hash key of each event; empty where nobody needs it.
    pub(super) hashes: Vec<u128>,
}

/// A record.
#[derive(Clone, Copy)]
pub(super) struct Item {
    members: (u32, u32),
    /// Its readers drop what its shard does not hold.
    pub(super) aggregated: bool,
}

/// Where records go.
pub(super) enum Way<'a> {
    /// Where their hash keys belong; nobody needs to know.
    Anywhere,
    /// To those shards, each with as many bytes in large records as there is room for.
    Shards {
        map: &'a ShardMap,
        rooms: &'a [usize],
    },
}

/// The levels of the keys that more than one record may hold.
#[derive(Default)]
pub(super) struct Levels {
    /// A key is a hash already.
    next: HashTable<(KeyId, u32)>,
}

impl Levels {
    fn with_room(keys: usize) -> Self {
        Self {
            next: HashTable::with_capacity(keys),
        }
    }

    /// The level of a record that holds that key alone.
    #[inline]
    fn level(&mut self, key: KeyId) -> u32 {
        if key == 0 {
            return 0;
        }
        let next = self.next_of(key);
        *next += 1;
        *next - 1
    }

    /// The level of a record that holds those keys.
    pub(super) fn level_of_all(&mut self, keys: impl Iterator<Item = KeyId> + Clone) -> u32 {
        let keys = keys.filter(|key| *key != 0);
        let level = keys.clone().map(|key| *self.next_of(key)).max();
        let level = level.unwrap_or(0);
        for key in keys {
            *self.next_of(key) = level + 1;
        }
        level
    }

    /// The first level that is above all records of that key.
    #[inline]
    fn next_of(&mut self, key: KeyId) -> &mut u32 {
        let entry = self.next.entry(key, |it| it.0 == key, |it| it.0);
        &mut entry.or_insert((key, 0)).into_mut().1
    }
}

impl Drafter {
    pub(super) fn new(
        encoding: Encoding,
        aggregate: Option<usize>,
        record_bytes: usize,
        limits: Limits,
    ) -> Self {
        Self {
            encoding,
            aggregate,
            record_bytes,
            limits,
            hasher: RandomState::default(),
            turn: AtomicUsize::new(0),
            spare: Mutex::default(),
            known: Mutex::default(),
        }
    }

    pub(super) fn aggregates(&self) -> bool {
        self.aggregate.is_some()
    }

    /// The hash key of an event; `None` where it has no key and may go anywhere.
    pub(super) fn hash_of(&self, event: &Event) -> Option<u128> {
        match (explicit_hash(event), event.key()) {
            (Ok(Some(hash)), _) => Some(hash),
            (_, None) => None,
            (_, Some(_)) => {
                let name = partition_key(event);
                Some(match self.known.try_lock() {
                    Ok(mut known) => known.hash_of(&name),
                    Err(_) => hash_of(&name),
                })
            }
        }
    }

    /// The records for `events`; those of which none can be made fail in the ledger.
    pub(super) fn draft(&self, events: &[Event], way: Way<'_>, ledger: &mut Ledger) -> Draft {
        let mut draft = Draft::default();
        draft.keys.reserve_exact(events.len());
        match (self.aggregate, way) {
            (Some(limit), Way::Shards { map, rooms }) => {
                Fill::begin(self, map, rooms, limit, &mut draft, ledger).all(events);
                draft.seal();
            }
            (_, way) => self.single(events, way, &mut draft, ledger),
        }
        ledger.drafted();
        draft
    }

    fn single(&self, events: &[Event], way: Way<'_>, draft: &mut Draft, ledger: &mut Ledger) {
        draft.slots.reserve_exact(events.len());
        draft.items.reserve_exact(events.len());
        draft.entries.reserve_exact(events.len());
        draft.members.reserve_exact(events.len());
        let mut levels = Levels::with_room(events.len());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for (at, event) in events.iter().enumerate() {
            let explicit = match explicit_hash(event) {
                Ok(explicit) => explicit,
                Err(error) => {
                    let key = self.key_id(event, None);
                    draft.keys.push(key);
                    if matches!(way, Way::Shards { .. }) {
                        draft.hashes.push(0);
                    }
                    refuse(ledger, at, key, error);
                    continue;
                }
            };
            let key = self.key_id(event, explicit);
            draft.keys.push(key);
            let mut placed = explicit;
            let queue = match &way {
                Way::Anywhere => 0,
                Way::Shards { map, .. } => {
                    let hash = explicit.or_else(|| self.hash_of(event)).unwrap_or_else(|| {
                        // Anywhere, so where there is room.
                        let hash = map.open()[(turn + at) % map.open().len()].range.first;
                        placed = Some(hash);
                        hash
                    });
                    draft.hashes.push(hash);
                    map.at(hash) as u32
                }
            };
            match self.record(event, placed) {
                Ok((entry, bytes)) if !ledger.is_blocked(key) => {
                    let level = levels.level(key);
                    draft.push(entry, &[at as u32], false, queue, level, bytes);
                }
                Ok(_) => refuse(ledger, at, key, never()),
                Err(error) => refuse(ledger, at, key, error),
            }
        }
    }

    /// A record of its own for `event`, and its bytes.
    #[inline(always)]
    pub(super) fn record(
        &self,
        event: &Event,
        hash: Option<u128>,
    ) -> Result<(PutRecordsRequestEntry, usize)> {
        let data = match (self.encoding, event.data()) {
            // A copy of its size.
            (Encoding::Raw, Some(data)) => data.to_vec(),
            _ => {
                let mut data = Vec::new();
                encoding::encode(event, self.encoding, &mut data)?;
                data
            }
        };
        self.limits.check_event(event, data.len())?;
        let key = partition_key(event).into_owned();
        let bytes = data.len() + key.len();
        if bytes > self.record_bytes {
            let limits = Limits {
                event_bytes: Some(self.record_bytes),
                ..Limits::default()
            };
            limits.check_event(event, bytes)?;
        }
        Ok((entry(data, key, hash)?, bytes))
    }

    #[inline]
    pub(super) fn key_id(&self, event: &Event, explicit: Option<u128>) -> KeyId {
        match (event.key(), explicit) {
            (None, _) => 0,
            (Some(key), None) => self.hasher.hash_one(key) | 1,
            (Some(key), Some(hash)) => self.hasher.hash_one((key, hash)) | 1,
        }
    }
}

impl Draft {
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        entry: PutRecordsRequestEntry,
        members: &[u32],
        aggregated: bool,
        queue: u32,
        level: u32,
        bytes: usize,
    ) {
        self.entries.push(entry);
        let from = self.members.len() as u32;
        self.members.extend_from_slice(members);
        self.slots.push(Slot {
            queue,
            level,
            bytes: bytes as u32,
        });
        self.items.push(Item {
            members: (from, self.members.len() as u32),
            aggregated,
        });
    }

    /// Puts the checksums behind the aggregated records.
    fn seal(&mut self) {
        let items = &self.items;
        self.entries.seal(|item| items[item].aggregated);
    }

    /// The events of a record.
    #[inline]
    pub(super) fn members(&self, item: u32) -> &[u32] {
        let (from, to) = self.items[item as usize].members;
        &self.members[from as usize..to as usize]
    }
}

pub(super) fn refuse(ledger: &mut Ledger, at: usize, key: KeyId, error: Error) {
    if ledger.is_blocked(key) {
        ledger.left_out(at, key, &error);
    } else {
        ledger.failed(at, key, error);
    }
}

/// Stands for the outcome of a blocked event, which the ledger words itself.
pub(super) fn never() -> Error {
    Error::new(ErrorKind::Blocked, "blocked")
}

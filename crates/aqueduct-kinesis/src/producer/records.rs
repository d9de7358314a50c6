use std::hash::BuildHasher as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqueduct_core::{Event, Limits, Result};
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::aggregator::{Aggregator, Buffers};
use super::outcomes::{KeyId, Outcomes, key_id};
use super::request::{Entries, entry};
use super::schedule::Scheduled;
use crate::config::Encoding;
use crate::encoding::{self, explicit_hash, partition_key};
use crate::hash::{KnownHashes, hash_of};
use crate::shards::ShardMap;

/// Builds the records of a call.
pub(super) struct RecordBuilder {
    pub(super) encoding: Encoding,
    /// The largest aggregated record in bytes; `None` gives each event a record of its own.
    aggregate: Option<usize>,
    record_bytes: usize,
    pub(super) limits: Limits,
    hasher: RandomState,
    /// The shard at which the next call begins with its events without a key.
    pub(super) next_shard: AtomicUsize,
    pub(super) buffers: Mutex<Vec<Buffers>>,
    /// The hash keys of keys that were looked up one by one.
    known: Mutex<KnownHashes>,
}

/// The records of one call, as parallel lists.
#[derive(Default)]
pub(super) struct Records {
    pub(super) scheduled: Vec<Scheduled>,
    pub(super) outgoing: Vec<OutgoingRecord>,
    pub(super) entries: Entries,
    /// The indexes of the events in the records, one record after the other.
    pub(super) members: Vec<u32>,
    /// The key of each event.
    pub(super) keys: Vec<Option<KeyId>>,
    /// The hash key of each event; empty if the shards do not matter.
    pub(super) hashes: Vec<u128>,
}

/// The events of one record.
#[derive(Clone, Copy)]
pub(super) struct OutgoingRecord {
    members: (u32, u32),
    /// Whether it is aggregated: its readers drop events whose hash key is outside of its shard.
    pub(super) aggregated: bool,
}

/// Decides which shards the records are built for.
pub(super) enum Target<'a> {
    /// Any: the service finds the shard of each record by its hash key.
    Anywhere,
    /// Those of `map`, each with at most that many bytes in large records.
    Shards {
        map: &'a ShardMap,
        large_bytes: &'a [usize],
    },
}

/// Assigns levels to records that share keys: a record is sent once those of its keys at lower
/// levels have their results.
#[derive(Default)]
pub(super) struct Levels {
    /// The next free level of each key. A key is a hash already.
    next: HashTable<(KeyId, u32)>,
}

impl Levels {
    fn with_capacity(keys: usize) -> Self {
        Self {
            next: HashTable::with_capacity(keys),
        }
    }

    /// Returns the level of a record that holds that key alone.
    #[inline]
    fn level(&mut self, key: Option<KeyId>) -> u32 {
        let Some(key) = key else { return 0 };
        let next = self.next_of(key);
        *next += 1;
        *next - 1
    }

    /// Returns the level of a record that holds those keys.
    pub(super) fn level_of_all(&mut self, keys: &[Option<KeyId>]) -> u32 {
        let keys = keys.iter().flatten().copied();
        let level = keys.clone().map(|key| *self.next_of(key)).max();
        let level = level.unwrap_or(0);
        for key in keys {
            *self.next_of(key) = level + 1;
        }
        level
    }

    /// Returns the first level above all records of that key.
    #[inline]
    fn next_of(&mut self, key: KeyId) -> &mut u32 {
        let entry = self
            .next
            .entry(key.get(), |it| it.0 == key, |it| it.0.get());
        &mut entry.or_insert((key, 0)).into_mut().1
    }
}

impl RecordBuilder {
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
            next_shard: AtomicUsize::new(0),
            buffers: Mutex::default(),
            known: Mutex::default(),
        }
    }

    pub(super) fn aggregates(&self) -> bool {
        self.aggregate.is_some()
    }

    /// Returns the hash key of an event; `None` without a key, if it may go to any shard.
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

    /// Builds the records for `events`. Events that cannot be sent get their outcomes.
    pub(super) fn build(
        &self,
        events: &[Event],
        target: Target<'_>,
        outcomes: &mut Outcomes,
    ) -> Records {
        let mut records = Records::default();
        records.keys.reserve_exact(events.len());
        match (self.aggregate, target) {
            (Some(limit), Target::Shards { map, large_bytes }) => {
                Aggregator::begin(self, map, large_bytes, limit, &mut records, outcomes)
                    .add_all(events);
                records.seal();
            }
            (_, target) => self.single(events, target, &mut records, outcomes),
        }
        outcomes.begin_pass();
        records
    }

    fn single(
        &self,
        events: &[Event],
        target: Target<'_>,
        records: &mut Records,
        outcomes: &mut Outcomes,
    ) {
        records.scheduled.reserve_exact(events.len());
        records.outgoing.reserve_exact(events.len());
        records.entries.reserve_exact(events.len());
        records.members.reserve_exact(events.len());
        let mut levels = Levels::with_capacity(events.len());
        let first_shard = self.next_shard.fetch_add(1, Ordering::Relaxed);
        for (at, event) in events.iter().enumerate() {
            let explicit = match explicit_hash(event) {
                Ok(explicit) => explicit,
                Err(error) => {
                    let key = self.key_id(event, None);
                    records.keys.push(key);
                    if matches!(target, Target::Shards { .. }) {
                        records.hashes.push(0);
                    }
                    outcomes.refuse(at, key, error);
                    continue;
                }
            };
            let key = self.key_id(event, explicit);
            records.keys.push(key);
            let mut placed = explicit;
            let queue = match &target {
                Target::Anywhere => 0,
                Target::Shards { map, .. } => {
                    let hash = explicit.or_else(|| self.hash_of(event)).unwrap_or_else(|| {
                        // Any shard will do: spread the events over all of them.
                        let hash = map.open()[(first_shard + at) % map.open().len()]
                            .range
                            .first;
                        placed = Some(hash);
                        hash
                    });
                    records.hashes.push(hash);
                    map.at(hash) as u32
                }
            };
            match self.record(event, placed) {
                Ok((entry, bytes)) if outcomes.admit(at, key) => {
                    let level = levels.level(key);
                    records.push(entry, &[at as u32], false, queue, level, bytes);
                }
                Ok(_) => {}
                Err(error) => outcomes.refuse(at, key, error),
            }
        }
    }

    /// Builds a record of its own for `event`; returns it and its bytes.
    #[inline(always)]
    pub(super) fn record(
        &self,
        event: &Event,
        hash: Option<u128>,
    ) -> Result<(PutRecordsRequestEntry, usize)> {
        let data = match (self.encoding, event.data()) {
            // One allocation of exactly its size.
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
    pub(super) fn key_id(&self, event: &Event, explicit: Option<u128>) -> Option<KeyId> {
        let key = event.key()?;
        Some(key_id(match explicit {
            None => self.hasher.hash_one(key),
            Some(hash) => self.hasher.hash_one((key, hash)),
        }))
    }
}

impl Records {
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
        self.scheduled.push(Scheduled {
            queue,
            level,
            bytes: bytes as u32,
        });
        self.outgoing.push(OutgoingRecord {
            members: (from, self.members.len() as u32),
            aggregated,
        });
    }

    /// Appends the checksums to the aggregated records.
    fn seal(&mut self) {
        let outgoing = &self.outgoing;
        self.entries.seal(|record| outgoing[record].aggregated);
    }

    /// Returns the indexes of the events in a record.
    #[inline]
    pub(super) fn members(&self, record: u32) -> &[u32] {
        let (from, to) = self.outgoing[record as usize].members;
        &self.members[from as usize..to as usize]
    }
}

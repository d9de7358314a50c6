use std::borrow::Cow;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use aqueduct_core::Event;

use super::outcomes::{KeyId, Outcomes, key_id};
use super::records::{Levels, RecordBuilder, Records};
use super::request::entry;
use super::schedule::REQUEST_RECORDS;
use crate::aggregation::{Aggregate, OUTER_KEY};
use crate::encoding::{self, KEYLESS, explicit_hash, partition_key};
use crate::hash::KnownHashes;
use crate::metrics::PAYLOAD_UNIT;
use crate::shards::ShardMap;

/// How full the parallel records of a shard are planned to be: keys are never spread evenly.
const FULL: f64 = 0.8;

/// The most parallel records for one shard: a request takes 500.
const MOST_PARTS: usize = 64;

/// Aggregates the events of a call for each shard: into one record, or into several parallel ones if
/// there are more events than a record holds. Each key belongs to one of them, so that they share
/// no key and go out in one request.
pub(super) struct Aggregator<'a> {
    builder: &'a RecordBuilder,
    map: &'a ShardMap,
    large_bytes: &'a [usize],
    limit: usize,
    records: &'a mut Records,
    outcomes: &'a mut Outcomes,
    levels: Levels,
    /// The parallel records of each shard, shard by shard.
    open: Vec<OpenAggregate>,
    known: KnownHashes,
    parts: usize,
    /// The record of the next event without a key. Each is filled before the next, so that as few
    /// records as possible are begun.
    next_keyless: usize,
}

/// Keeps the allocations of one call for the next.
#[derive(Default)]
pub(super) struct Buffers {
    open: Vec<OpenAggregate>,
    known: KnownHashes,
}

/// An aggregate that is being filled.
#[derive(Default)]
pub(super) struct OpenAggregate {
    aggregate: Aggregate,
    members: Vec<u32>,
    /// The hash key of the first event, which is the record's: so the first event of a record is
    /// stored at the right shard even if the map is out of date.
    hash: u128,
    /// Bytes of the records already closed at this index.
    closed: usize,
    /// How many of them there are, and the index of the first.
    count: u32,
    first: u32,
}

/// Decides where an event goes and under which partition key.
struct Placed<'a> {
    /// The index of the open record that takes it.
    place: usize,
    hash: u128,
    name: Cow<'a, str>,
    /// The hash key to write if the partition key does not lead there.
    given: Option<u128>,
}

impl<'a> Aggregator<'a> {
    pub(super) fn begin(
        builder: &'a RecordBuilder,
        map: &'a ShardMap,
        large_bytes: &'a [usize],
        limit: usize,
        records: &'a mut Records,
        outcomes: &'a mut Outcomes,
    ) -> Self {
        let Buffers { open, known } = {
            let mut buffers = builder
                .buffers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            buffers.pop().unwrap_or_default()
        };
        Self {
            next_keyless: builder.next_shard.fetch_add(1, Ordering::Relaxed),
            parts: 1,
            open,
            known,
            builder,
            map,
            large_bytes,
            limit,
            records,
            outcomes,
            levels: Levels::default(),
        }
    }

    pub(super) fn add_all(mut self, events: &[Event]) {
        self.parts = self.parts_for(events);
        let places = self.map.open().len() * self.parts;
        self.open.resize_with(places, OpenAggregate::default);
        self.next_keyless %= places;
        self.records.members.reserve_exact(events.len());
        self.records.hashes.reserve_exact(events.len());
        let mut data = Vec::new();
        for (at, event) in events.iter().enumerate() {
            data.clear();
            self.add(events, at, event, &mut data);
        }
        for place in 0..places {
            self.close(events, place);
            let open = &mut self.open[place];
            (open.closed, open.count) = (0, 0);
        }
        let buffers = &self.builder.buffers;
        let mut buffers = buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < 4 {
            buffers.push(Buffers {
                open: self.open,
                known: self.known,
            });
        }
    }

    /// Estimates the number of parallel records per shard from the first event. If it is too low, a
    /// second record takes the rest, and its request follows the first one's.
    fn parts_for(&self, events: &[Event]) -> usize {
        let mut data = Vec::new();
        let encoded = match events.first() {
            Some(first) => encoding::encode(first, self.builder.encoding, &mut data)
                .map(|()| data.len() as f64 / first.approximate_size() as f64),
            None => return 1,
        };
        let bytes: usize = events.iter().map(Event::approximate_size).sum();
        let shards = self.map.open().len();
        let bytes = bytes as f64 * encoded.unwrap_or(1.0) / shards as f64;
        let all_large = self
            .large_bytes
            .iter()
            .all(|large_bytes_left| *large_bytes_left as f64 >= bytes);
        let limit = match all_large {
            true => self.limit,
            // A shard with little allowance refuses: small records waste less.
            false => self.limit.min(PAYLOAD_UNIT),
        };
        let records = bytes / limit as f64;
        if records <= FULL {
            return 1;
        }
        ((records / FULL).ceil() as usize).min((REQUEST_RECORDS / shards).clamp(1, MOST_PARTS))
    }

    fn add(&mut self, events: &[Event], at: usize, event: &Event, data: &mut Vec<u8>) {
        let explicit = explicit_hash(event);
        let asked = explicit.as_ref().ok().copied().flatten();
        let (mut placed, key) = self.place(event, asked);
        self.records.keys.push(key);
        self.records.hashes.push(placed.hash);
        let encoded = explicit
            .and_then(|_| encoding::encode(event, self.builder.encoding, data))
            .and_then(|()| self.builder.limits.check_event(event, data.len()));
        match encoded {
            Err(error) => return self.outcomes.refuse(at, key, error),
            Ok(()) if !self.outcomes.admit(at, key) => return,
            Ok(()) => {}
        }
        if data.len() >= PAYLOAD_UNIT {
            // Aggregating a large event saves nothing.
            self.close(events, placed.place);
            return self.single_record(event, at, placed.place);
        }
        if !self.push(&placed, data) {
            if event.key().is_none() && asked.is_none() {
                self.next_keyless = (self.next_keyless + 1) % self.open.len();
                placed = self.place(event, asked).0;
                self.records.hashes[at] = placed.hash;
            }
            if !self.push(&placed, data) {
                self.close(events, placed.place);
                if !self.push(&placed, data) {
                    return self.single_record(event, at, placed.place);
                }
            }
        }
        let open = &mut self.open[placed.place];
        if open.members.is_empty() {
            open.hash = placed.hash;
        }
        open.members.push(at as u32);
    }

    #[inline]
    fn place<'e>(
        &mut self,
        event: &'e Event,
        explicit: Option<u128>,
    ) -> (Placed<'e>, Option<KeyId>) {
        let shards = self.map.open();
        if event.key().is_none() {
            let (place, hash) = match explicit {
                Some(hash) => (self.map.at(hash) * self.parts, hash),
                None => (
                    self.next_keyless,
                    shards[self.next_keyless / self.parts].range.first,
                ),
            };
            // One partition key for all of them, so that the table of keys holds it once.
            let placed = Placed {
                place,
                hash,
                name: Cow::Borrowed(KEYLESS),
                given: Some(hash),
            };
            return (placed, None);
        }
        let name = partition_key(event);
        let (hash, key) = match explicit {
            Some(hash) => (hash, self.builder.key_id(event, explicit)),
            None => {
                let hash = self.known.hash_of(&name);
                (hash, Some(key_id(hash as u64)))
            }
        };
        // The half of the hash that does not select the shard.
        let spread = key.map_or(0, |key| key.get() >> 32);
        let part = ((spread * self.parts as u64) >> 32) as usize;
        let placed = Placed {
            place: self.map.at(hash) * self.parts + part,
            hash,
            name,
            given: explicit,
        };
        (placed, key)
    }

    #[inline]
    fn push(&mut self, placed: &Placed<'_>, data: &[u8]) -> bool {
        let open = &mut self.open[placed.place];
        let shard = placed.place / self.parts;
        let large_bytes_left = self.large_bytes.get(shard).copied().unwrap_or(0);
        let limit = match open.closed.saturating_add(self.limit) <= large_bytes_left {
            true => self.limit,
            // A refused record is sent twice, so it is kept small.
            false => self.limit.min(PAYLOAD_UNIT),
        };
        open.aggregate
            .try_push(&placed.name, placed.given, data, limit)
    }

    /// Closes the aggregate at that index and makes a record of it.
    fn close(&mut self, events: &[Event], place: usize) {
        let open = &mut self.open[place];
        let mut members = std::mem::take(&mut open.members);
        match members[..] {
            [] => {}
            [at] => {
                open.aggregate.clear();
                self.single_record(&events[at as usize], at as usize, place);
            }
            _ => {
                let bytes = open.aggregate.size() + OUTER_KEY.len();
                let data = open.aggregate.take_unsealed();
                match entry(data, OUTER_KEY.to_owned(), Some(open.hash)) {
                    Ok(entry) => {
                        let level = self.level(place, &members, bytes);
                        let queue = (place / self.parts) as u32;
                        self.records
                            .push(entry, &members, true, queue, level, bytes);
                    }
                    Err(error) => {
                        for &at in &members {
                            let key = self.records.keys[at as usize];
                            self.outcomes.refuse(at as usize, key, error.clone());
                        }
                    }
                }
            }
        }
        members.clear();
        self.open[place].members = members;
    }

    /// Makes a record of one event, behind the closed ones at its index.
    fn single_record(&mut self, event: &Event, at: usize, place: usize) {
        let placed = match event.key() {
            Some(_) => explicit_hash(event).ok().flatten(),
            None => Some(self.records.hashes[at]),
        };
        match self.builder.record(event, placed) {
            Ok((entry, bytes)) => {
                let members = [at as u32];
                let level = self.level(place, &members, bytes);
                let queue = (place / self.parts) as u32;
                self.records
                    .push(entry, &members, false, queue, level, bytes);
            }
            Err(error) => self.outcomes.refuse(at, self.records.keys[at], error),
        }
    }

    /// Returns the level of the next record at an index. Most have one record per call, so its keys
    /// are only looked at when a second one follows.
    fn level(&mut self, place: usize, members: &[u32], bytes: usize) -> u32 {
        let open = &mut self.open[place];
        let records = &*self.records;
        let keys_of = |members: &'_ [u32]| -> Vec<Option<KeyId>> {
            let keys = members.iter().map(|at| records.keys[*at as usize]);
            keys.collect()
        };
        open.closed += bytes;
        open.count += 1;
        match open.count {
            1 => {
                open.first = records.outgoing.len() as u32;
                return 0;
            }
            2 => {
                let first = keys_of(records.members(open.first));
                self.levels.level_of_all(&first);
            }
            _ => {}
        }
        self.levels.level_of_all(&keys_of(members))
    }
}

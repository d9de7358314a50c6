use std::borrow::Cow;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use aqueduct_core::Event;

use super::draft::{Draft, Drafter, Levels, never, refuse};
use super::entries::entry;
use super::ledger::{KeyId, Ledger};
use super::schedule::REQUEST_RECORDS;
use crate::aggregation::{Aggregate, OUTER_KEY};
use crate::encoding::{self, KEYLESS, explicit_hash, partition_key};
use crate::hash::KnownHashes;
use crate::metrics::PAYLOAD_UNIT;
use crate::shards::ShardMap;

/// How full the records of a shard shall be where there are several side by side: their keys are
/// never spread quite evenly.
const FULL: f64 = 0.8;

/// The most records side by side for one shard: 500 go into a request.
const MOST_PARTS: usize = 64;

/// Fills aggregates for each shard with the events of a call: one, or several side by side where
/// the call brings more than a record holds. Each key has its place in one of them, so that they
/// share no key and go out in one request.
pub(super) struct Fill<'a> {
    drafter: &'a Drafter,
    map: &'a ShardMap,
    rooms: &'a [usize],
    limit: usize,
    draft: &'a mut Draft,
    ledger: &'a mut Ledger,
    levels: Levels,
    /// The records side by side of each shard, shard by shard.
    open: Vec<Open>,
    known: KnownHashes,
    parts: usize,
    /// The record of the next event without a key: one after the other, so that as few records as
    /// can be are begun.
    turn: usize,
}

/// What one call leaves for the next.
#[derive(Default)]
pub(super) struct Spare {
    open: Vec<Open>,
    known: KnownHashes,
}

/// An aggregate that is being filled.
#[derive(Default)]
pub(super) struct Open {
    aggregate: Aggregate,
    members: Vec<u32>,
    /// The hash key of the first event: where its record goes. So the first event of a record is
    /// never stored at a wrong shard, whatever the map says.
    hash: u128,
    /// Bytes of the records that were filled here before and are closed.
    closed: usize,
    /// How many of them there are, and the first.
    count: u32,
    first: u32,
}

/// Where an event goes and under which name.
struct Placed<'a> {
    /// Which of the open records takes it.
    place: usize,
    hash: u128,
    name: Cow<'a, str>,
    /// The hash key that is written, where the name does not lead there.
    given: Option<u128>,
}

impl<'a> Fill<'a> {
    pub(super) fn begin(
        drafter: &'a Drafter,
        map: &'a ShardMap,
        rooms: &'a [usize],
        limit: usize,
        draft: &'a mut Draft,
        ledger: &'a mut Ledger,
    ) -> Self {
        let Spare { open, known } = {
            let mut spare = drafter.spare.lock().unwrap_or_else(PoisonError::into_inner);
            spare.pop().unwrap_or_default()
        };
        Self {
            turn: drafter.turn.fetch_add(1, Ordering::Relaxed),
            parts: 1,
            open,
            known,
            drafter,
            map,
            rooms,
            limit,
            draft,
            ledger,
            levels: Levels::default(),
        }
    }

    pub(super) fn all(mut self, events: &[Event]) {
        self.parts = self.parts_for(events);
        let places = self.map.open().len() * self.parts;
        self.open.resize_with(places, Open::default);
        self.turn %= places;
        self.draft.members.reserve_exact(events.len());
        self.draft.hashes.reserve_exact(events.len());
        let mut data = Vec::new();
        for (at, event) in events.iter().enumerate() {
            data.clear();
            self.one(events, at, event, &mut data);
        }
        for place in 0..places {
            self.close(events, place);
            let open = &mut self.open[place];
            (open.closed, open.count) = (0, 0);
        }
        let spares = &self.drafter.spare;
        let mut spares = spares.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < 4 {
            spares.push(Spare {
                open: self.open,
                known: self.known,
            });
        }
    }

    /// How many records of each shard are filled side by side. A guess, from the first event: where
    /// it is too low, a second record takes what is left, and its request follows the first one's.
    fn parts_for(&self, events: &[Event]) -> usize {
        let mut data = Vec::new();
        let encoded = match events.first() {
            Some(first) => encoding::encode(first, self.drafter.encoding, &mut data)
                .map(|()| data.len() as f64 / first.approximate_size() as f64),
            None => return 1,
        };
        let bytes: usize = events.iter().map(Event::approximate_size).sum();
        let shards = self.map.open().len();
        let bytes = bytes as f64 * encoded.unwrap_or(1.0) / shards as f64;
        let roomy = self.rooms.iter().all(|room| *room as f64 >= bytes);
        let limit = match roomy {
            true => self.limit,
            // Where little may be sent, large records are not wanted.
            false => self.limit.min(PAYLOAD_UNIT),
        };
        let records = bytes / limit as f64;
        if records <= FULL {
            return 1;
        }
        ((records / FULL).ceil() as usize).min((REQUEST_RECORDS / shards).clamp(1, MOST_PARTS))
    }

    fn one(&mut self, events: &[Event], at: usize, event: &Event, data: &mut Vec<u8>) {
        let explicit = explicit_hash(event);
        let asked = explicit.as_ref().ok().copied().flatten();
        let (mut placed, key) = self.place(event, asked);
        self.draft.keys.push(key);
        self.draft.hashes.push(placed.hash);
        let encoded = explicit
            .and_then(|_| encoding::encode(event, self.drafter.encoding, data))
            .and_then(|()| self.drafter.limits.check_event(event, data.len()));
        match encoded {
            Err(error) => return refuse(self.ledger, at, key, error),
            Ok(()) if self.ledger.is_blocked(key) => {
                return refuse(self.ledger, at, key, never());
            }
            Ok(()) => {}
        }
        if data.len() >= PAYLOAD_UNIT {
            // Company saves nothing.
            self.close(events, placed.place);
            return self.alone(event, at, placed.place);
        }
        if !self.push(&placed, data) {
            if event.key().is_none() && asked.is_none() {
                self.turn = (self.turn + 1) % self.open.len();
                placed = self.place(event, asked).0;
                self.draft.hashes[at] = placed.hash;
            }
            if !self.push(&placed, data) {
                self.close(events, placed.place);
                if !self.push(&placed, data) {
                    return self.alone(event, at, placed.place);
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
    fn place<'e>(&mut self, event: &'e Event, explicit: Option<u128>) -> (Placed<'e>, KeyId) {
        let shards = self.map.open();
        if event.key().is_none() {
            let (place, hash) = match explicit {
                Some(hash) => (self.map.at(hash) * self.parts, hash),
                None => (self.turn, shards[self.turn / self.parts].range.first),
            };
            // One name for all of them, so that the table of keys has it once.
            let placed = Placed {
                place,
                hash,
                name: Cow::Borrowed(KEYLESS),
                given: Some(hash),
            };
            return (placed, 0);
        }
        let name = partition_key(event);
        let (hash, key) = match explicit {
            Some(hash) => (hash, self.drafter.key_id(event, explicit)),
            None => {
                let hash = self.known.hash_of(&name);
                (hash, hash as u64 | 1)
            }
        };
        // The half of the hash that does not choose the shard.
        let part = (((key >> 32) * self.parts as u64) >> 32) as usize;
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
        let room = self.rooms.get(shard).copied().unwrap_or(0);
        let limit = match open.closed.saturating_add(self.limit) <= room {
            true => self.limit,
            // What is refused is sent twice: little of it.
            false => self.limit.min(PAYLOAD_UNIT),
        };
        open.aggregate
            .try_push(&placed.name, placed.given, data, limit)
    }

    /// Makes a record of what was filled at that place.
    fn close(&mut self, events: &[Event], place: usize) {
        let open = &mut self.open[place];
        let mut members = std::mem::take(&mut open.members);
        match members[..] {
            [] => {}
            [at] => {
                open.aggregate.clear();
                self.alone(&events[at as usize], at as usize, place);
            }
            _ => {
                let bytes = open.aggregate.size() + OUTER_KEY.len();
                let data = open.aggregate.take_unsealed();
                match entry(data, OUTER_KEY.to_owned(), Some(open.hash)) {
                    Ok(entry) => {
                        let level = self.level(place, &members, bytes);
                        let queue = (place / self.parts) as u32;
                        self.draft.push(entry, &members, true, queue, level, bytes);
                    }
                    Err(error) => {
                        for &at in &members {
                            let key = self.draft.keys[at as usize];
                            refuse(self.ledger, at as usize, key, error.clone());
                        }
                    }
                }
            }
        }
        members.clear();
        self.open[place].members = members;
    }

    /// Makes a record of one event, behind those of its place that are closed.
    fn alone(&mut self, event: &Event, at: usize, place: usize) {
        let placed = match event.key() {
            Some(_) => explicit_hash(event).ok().flatten(),
            None => Some(self.draft.hashes[at]),
        };
        match self.drafter.record(event, placed) {
            Ok((entry, bytes)) => {
                let members = [at as u32];
                let level = self.level(place, &members, bytes);
                let queue = (place / self.parts) as u32;
                self.draft.push(entry, &members, false, queue, level, bytes);
            }
            Err(error) => refuse(self.ledger, at, self.draft.keys[at], error),
        }
    }

    /// The level of the next record of a place. Most have one record a call, so its keys are looked
    /// at when a second one comes.
    fn level(&mut self, place: usize, members: &[u32], bytes: usize) -> u32 {
        let open = &mut self.open[place];
        let draft = &*self.draft;
        let keys_of = |members: &'_ [u32]| -> Vec<KeyId> {
            let keys = members.iter().map(|at| draft.keys[*at as usize]);
            keys.collect()
        };
        open.closed += bytes;
        open.count += 1;
        match open.count {
            1 => {
                open.first = draft.items.len() as u32;
                return 0;
            }
            2 => {
                let first = keys_of(draft.members(open.first));
                self.levels.level_of_all(first.into_iter());
            }
            _ => {}
        }
        self.levels.level_of_all(keys_of(members).into_iter())
    }
}

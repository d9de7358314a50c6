use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::ops::{Index, IndexMut};

use aqueduct_core::{Instant, Lane, SmallStr};
use hashbrown::HashTable;

use super::calls::CallId;
use super::requests::RequestId;
use super::store::Ticket;
use aqueduct_core::hash::SeededHash;

/// The metadata of an accepted event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) call: CallId,
    pub(super) index: u32,
    /// Rises with each accepted event.
    pub(super) seq: u64,
    pub(super) submitted: Instant,
    pub(super) epoch: u64,
    pub(super) bytes: usize,
    /// The number of failed attempts, not counting those blocked by an earlier event.
    pub(super) attempts: u32,
    /// Whether it was part of a request.
    pub(super) tried: bool,
    /// Whether an earlier attempt may have stored it.
    pub(super) unknown: bool,
    /// The queue that counts it while it is in flight.
    pub(super) key: Option<KeyId>,
    /// The lane whose window counts it while it is in flight.
    pub(super) limited: Option<Lane>,
}

impl Meta {
    /// Creates the metadata of an event that was just accepted.
    #[inline]
    pub(super) fn new(
        now: Instant,
        call: CallId,
        index: usize,
        seq: u64,
        epoch: u64,
        bytes: usize,
    ) -> Self {
        Self {
            call,
            index: index as u32,
            seq,
            submitted: now,
            epoch,
            bytes,
            attempts: 0,
            tried: false,
            unknown: false,
            key: None,
            limited: None,
        }
    }
}

/// The state of a key that is not at rest.
#[derive(Debug)]
pub(super) struct KeyQueue {
    key: SmallStr,
    hash: u64,
    /// The waiting events of the key, in order, retries first.
    pub(super) parked: VecDeque<Ticket>,
    pub(super) hold: Hold,
    /// The number of its events in flight, all in one request.
    pub(super) in_flight: usize,
    /// Failed outcomes that no caller has seen yet.
    pub(super) undelivered: usize,
    /// Events accepted before this number fail as blocked when their turn comes.
    pub(super) block_below: u64,
    /// Set while a request is evaluated: an event of this key has failed for good.
    pub(super) gave_up: bool,
    /// Set while a request is evaluated: when the retries may go.
    pub(super) resume: Option<Resume>,
    /// The retries, which go back to the front of `parked` after the evaluation.
    pub(super) again: Vec<Ticket>,
}

/// The reason why the events of a key wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    None,
    Runnable,
    InFlight(RequestId),
    Until(Instant),
    Lane(Lane),
}

/// When a retry may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    At(Instant),
    WithLane(Lane),
}

impl KeyQueue {
    fn new() -> Self {
        Self {
            key: SmallStr::default(),
            hash: 0,
            parked: VecDeque::new(),
            hold: Hold::None,
            in_flight: 0,
            undelivered: 0,
            block_below: 0,
            gave_up: false,
            resume: None,
            again: Vec::new(),
        }
    }

    /// Returns whether the key can be forgotten if the oldest event in the backlog is `oldest`.
    fn is_at_rest(&self, oldest: u64) -> bool {
        self.hold == Hold::None
            && self.undelivered == 0
            && self.in_flight == 0
            && self.parked.is_empty()
            && self.block_below <= oldest
    }
}

pub(super) type KeyId = u32;

/// The queues by key, in reused slots: a key is looked up once, when its event comes, and then
/// referred to by its index.
pub(super) struct KeyQueues {
    found: HashTable<KeyId>,
    slots: Vec<KeyQueue>,
    free: Vec<KeyId>,
    hasher: SeededHash,
    /// The number of keys with failures that their callers have not seen.
    troubled: usize,
    /// Queues to keep until the backlog is past that event.
    blocked: VecDeque<(u64, KeyId)>,
}

impl KeyQueues {
    pub(super) fn new(hasher: SeededHash) -> Self {
        Self {
            found: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hasher,
            troubled: 0,
            blocked: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn find(&self, key: &SmallStr) -> Option<KeyId> {
        let hash = self.hasher.hash_one(key);
        let slots = &self.slots;
        self.found
            .find(hash, |&id| slots[id as usize].key == *key)
            .copied()
    }

    /// Returns the queue of `key`, creating an empty one if there is none.
    #[inline]
    pub(super) fn of(&mut self, key: &SmallStr) -> KeyId {
        let Self {
            found,
            slots,
            free,
            hasher,
            ..
        } = self;
        let hash = hasher.hash_one(key);
        if let Some(&id) = found.find(hash, |&id| slots[id as usize].key == *key) {
            return id;
        }
        let id = free.pop().unwrap_or_else(|| {
            slots.push(KeyQueue::new());
            (slots.len() - 1) as KeyId
        });
        let queue = &mut slots[id as usize];
        queue.key = key.clone();
        queue.hash = hash;
        queue.hold = Hold::None;
        queue.block_below = 0;
        queue.gave_up = false;
        found.insert_unique(hash, id, |&id| slots[id as usize].hash);
        id
    }

    /// Forgets the queue if it is at rest and not forgotten already.
    pub(super) fn tidy(&mut self, id: KeyId, oldest: u64) {
        let queue = &mut self.slots[id as usize];
        if queue.is_at_rest(oldest)
            && let Ok(found) = self.found.find_entry(queue.hash, |&it| it == id)
        {
            found.remove();
            queue.key = SmallStr::default();
            self.free.push(id);
        }
    }

    /// Returns whether any key has a failure that its caller has not seen.
    pub(super) fn any_troubled(&self) -> bool {
        self.troubled > 0
    }

    /// Returns whether the key has a failure that its caller has not seen.
    pub(super) fn is_troubled(&self, id: KeyId) -> bool {
        self.slots[id as usize].undelivered > 0
    }

    /// Notes a failure of the key that its caller has not seen.
    pub(super) fn failure_unseen(&mut self, id: KeyId) {
        let queue = &mut self.slots[id as usize];
        queue.undelivered += 1;
        self.troubled += usize::from(queue.undelivered == 1);
    }

    /// Notes that the caller has seen a failure. Returns whether it was the last of the key.
    pub(super) fn failure_seen(&mut self, id: KeyId) -> bool {
        let queue = &mut self.slots[id as usize];
        queue.undelivered = queue.undelivered.saturating_sub(1);
        let last = queue.undelivered == 0;
        self.troubled = self.troubled.saturating_sub(usize::from(last));
        last
    }

    /// Blocks the events of the key that were accepted before event `below`.
    pub(super) fn block(&mut self, id: KeyId, below: u64) {
        self.slots[id as usize].block_below = below;
        self.blocked.push_back((below, id));
    }

    /// Forgets the blocked keys that are at rest, now that `oldest` is the first event of the backlog.
    pub(super) fn tidy_blocked(&mut self, oldest: u64) {
        while self.blocked.front().is_some_and(|(seq, _)| *seq <= oldest) {
            if let Some((_, id)) = self.blocked.pop_front() {
                self.tidy(id, oldest);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyId, &KeyQueue)> {
        let slots = self.slots.iter().enumerate();
        slots.map(|(id, queue)| (id as KeyId, queue))
    }

    /// Returns the keys whose queues hold events.
    pub(super) fn waiting(&self) -> Vec<KeyId> {
        let queues = self.slots.iter().enumerate();
        queues
            .filter(|(_, queue)| !queue.parked.is_empty())
            .map(|(id, _)| id as KeyId)
            .collect()
    }

    /// Takes every waiting event out of the queues.
    pub(super) fn take_parked(&mut self) -> Vec<Ticket> {
        let keys = self.slots.iter_mut();
        keys.flat_map(|queue| queue.parked.drain(..)).collect()
    }
}

impl Index<KeyId> for KeyQueues {
    type Output = KeyQueue;

    fn index(&self, id: KeyId) -> &KeyQueue {
        &self.slots[id as usize]
    }
}

impl IndexMut<KeyId> for KeyQueues {
    fn index_mut(&mut self, id: KeyId) -> &mut KeyQueue {
        &mut self.slots[id as usize]
    }
}

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use aqueduct_core::{
    Checkpoint, Instant, PartitionId, Position, ReadFrom, Record, Revocation, StoredAttempts,
};

use super::keys::Keys;
use super::slots::{Line, Slots};
use super::{Takeover, TrackerOptions};

/// The state of one owned partition. See the module for how to use it.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(super) options: TrackerOptions,
    pub(super) slots: Slots,
    pub(super) line: Line,
    pub(super) keys: Keys,
    /// The first event in line that no take has looked at.
    pub(super) cursor: u64,
    /// Events before the cursor that are the first of their key, or without one, and deliverable.
    pub(super) freed: VecDeque<u32>,
    pub(super) retries: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    pub(super) takes: u32,
    pub(super) in_flight: usize,
    pub(super) bytes: usize,
    pub(super) settled: usize,
    pub(super) last_seen: Option<Position>,
    pub(super) ack_floor: Checkpoint,
    pub(super) handed_out: Option<Position>,
    pub(super) stored: Option<StoredAttempts>,
    pub(super) committed: (Checkpoint, Option<StoredAttempts>),
    pub(super) blocked_since: Option<Instant>,
    pub(super) isolated_until: Option<Position>,
    pub(super) alone: Option<Alone>,
    pub(super) announce: Option<Announce>,
    pub(super) ended: Option<Vec<PartitionId>>,
    pub(super) revoked: Option<Revocation>,
}

/// The event that runs alone in isolation mode, from the choice to the settlement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone {
    pub(super) at: u32,
    pub(super) mark: StoredAttempts,
    pub(super) durable: bool,
}

/// What may be handed out while each hand-out is announced first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announce {
    /// A commit said so up to here.
    pub(super) up_to: Option<Position>,
    /// Where announcing ends: what the first commit of this owner announced.
    pub(super) until: Option<Position>,
}

impl Tracker {
    /// A tracker of a partition that is settled up to `start`; `handed_out` as the lease has it.
    pub(crate) fn new(
        options: TrackerOptions,
        start: Checkpoint,
        handed_out: Option<Position>,
        takeover: Takeover,
    ) -> Self {
        let last_seen = match start {
            Checkpoint::At(position) | Checkpoint::Start(ReadFrom::After(position)) => {
                Some(position)
            }
            Checkpoint::Start(_) | Checkpoint::End => None,
        };
        let is_ahead = |position: &Position| last_seen.is_none_or(|seen| *position > seen);
        Self {
            slots: Slots::new(),
            line: Line::new(),
            keys: Keys::new(options.hash_seed),
            cursor: 0,
            freed: VecDeque::new(),
            retries: BinaryHeap::new(),
            takes: 0,
            in_flight: 0,
            bytes: 0,
            settled: 0,
            last_seen,
            ack_floor: start,
            handed_out,
            stored: takeover.attempts.filter(|it| is_ahead(&it.position)),
            committed: (start, takeover.attempts),
            blocked_since: None,
            isolated_until: takeover.isolated_until.filter(is_ahead),
            alone: None,
            announce: takeover.announce.then_some(Announce {
                up_to: handed_out,
                until: None,
            }),
            ended: None,
            revoked: None,
            options,
        }
    }

    /// How many more records it takes now; 0 while the reader shall wait. Small refills wait until
    /// a quarter of the events is free, unless nothing is left to hand out.
    pub(crate) fn room(&self) -> usize {
        if self.ended.is_some() || self.revoked.is_some() {
            return 0;
        }
        let room = self.room_at_all();
        let nothing_left = self.cursor == self.line.end() && self.freed.is_empty();
        if room >= self.options.max_unsettled / 4 || nothing_left {
            room
        } else {
            0
        }
    }

    /// Takes records from the reader, in order; drops those at or below the last one seen, so that
    /// a reader may reconnect. Answers how many bytes more are held now.
    pub(crate) fn fetched(&mut self, records: Vec<Record>, now: Instant) -> usize {
        if self.revoked.is_some() {
            return 0;
        }
        let before = self.bytes;
        self.slots.reserve(records.len());
        self.line.reserve(records.len());
        for record in records {
            let Record {
                event,
                position,
                stored_at,
                ..
            } = record;
            if self.last_seen.is_some_and(|seen| position <= seen) {
                continue;
            }
            let previous = self.last_seen.replace(position).unwrap_or(Position::MIN);
            let at = self
                .slots
                .insert(event, [position, previous], stored_at, self.line.end());
            self.line.push(at);
            self.bytes += self.slots.at(at).bytes;
            self.keys.append(&mut self.slots, at);
            if self.stored.is_some() {
                self.restore_attempts(at);
            }
        }
        self.note_limits(now);
        self.bytes - before
    }

    /// Ends everything: lost, handed off, shutdown. [`progress`](Self::progress) stays to be
    /// asked. Answers the bytes that are no longer held.
    pub(crate) fn revoke_all(&mut self, why: Revocation) -> usize {
        if self.revoked.is_some() {
            return 0;
        }
        self.ack_floor = self.progress().ack_floor;
        self.alone = None;
        self.stored = self.attempts();
        self.revoked = Some(why);
        self.announce = None;
        self.blocked_since = None;
        self.in_flight = 0;
        self.slots = Slots::new();
        self.line = Line::new();
        self.keys = Keys::new(self.options.hash_seed);
        self.cursor = 0;
        self.freed = VecDeque::new();
        self.retries = BinaryHeap::new();
        std::mem::take(&mut self.bytes)
    }

    /// When the next retry becomes deliverable, where nothing before it has to be settled first.
    /// Stays in the past until a take: wait for it only while a receiver waits.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.retries.peek().map(|Reverse((due, ..))| *due)
    }

    /// The partition is closed and read to its end.
    pub(crate) fn reader_ended(&mut self, children: Vec<PartitionId>) {
        self.ended = Some(children);
    }

    /// Where a new reader goes on: behind the last record seen; `None` at the end.
    pub(crate) fn read_from(&self) -> Option<ReadFrom> {
        match self.last_seen {
            _ if self.ended.is_some() => None,
            Some(seen) => Some(ReadFrom::After(seen)),
            None => self.ack_floor.read_from(),
        }
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.is_some()
    }

    /// The room without regard to the size of refills.
    pub(super) fn room_at_all(&self) -> usize {
        let options = &self.options;
        let parked = self.keys.parked();
        if self.bytes >= options.max_unsettled_bytes || parked >= options.max_parked {
            return 0;
        }
        let events = options
            .max_unsettled
            .saturating_sub(self.slots.held() - parked);
        events.min(options.max_span.saturating_sub(self.line.len()))
    }

    fn restore_attempts(&mut self, at: u32) {
        let slot = self.slots.at_mut(at);
        self.stored = self.stored.filter(|stored| {
            if stored.position == slot.position && stored.count > 0 {
                slot.failed = stored.count;
                slot.troubled = true;
                self.keys.trouble(slot.key);
            }
            stored.position > slot.position
        });
    }

    pub(super) fn note_limits(&mut self, now: Instant) {
        self.blocked_since = match self.room_at_all() {
            0 => self.blocked_since.or(Some(now)),
            _ => None,
        };
    }
}

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use aqueduct_core::{
    Checkpoint, Instant, PartitionId, Position, ReadFrom, Record, ResumeToken, Revocation,
    StoredAttempts, Timestamp,
};

use super::guard::{Announce, Guard};
use super::keys::Keys;
use super::slots::{Line, Slots};
use super::tokens::Tokens;
use super::{Takeover, TrackerOptions};

/// The state of one owned partition. See the module for how to use it.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(super) options: TrackerOptions,
    pub(super) slots: Slots,
    pub(super) line: Line,
    pub(super) keys: Keys,
    pub(super) ready: Ready,
    pub(super) floor: Floor,
    pub(super) load: Load,
    pub(super) guard: Guard,
    pub(super) tokens: Tokens,
}

/// The order of hand-outs.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// The first event in line that no take has looked at.
    pub(super) cursor: u64,
    /// Events before the cursor that are the first of their key, or without one, and deliverable.
    pub(super) freed: VecDeque<u32>,
    pub(super) retries: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    pub(super) takes: u32,
}

/// The positions up to which the partition is read, handed out, settled and committed.
#[derive(Debug)]
pub(super) struct Floor {
    pub(super) last_seen: Option<Position>,
    pub(super) ack_floor: Checkpoint,
    pub(super) handed_out: Option<Position>,
    /// Attempts from the lease for an event that is not read yet.
    pub(super) stored: Option<StoredAttempts>,
    pub(super) committed: (Checkpoint, Option<StoredAttempts>),
    /// The children, once the reader has ended.
    pub(super) ended: Option<Vec<PartitionId>>,
    pub(super) revoked: Option<Revocation>,
    /// The time until which everything stored is settled.
    pub(super) caught_up_at: Option<Timestamp>,
}

/// The figures that the limits look at.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) in_flight: usize,
    pub(super) bytes: usize,
    /// Events settled since the last commit.
    pub(super) settled: usize,
    pub(super) blocked_since: Option<Instant>,
}

impl Tracker {
    /// A tracker of a partition that is settled up to `start`; `handed_out` as the lease has it.
    pub(crate) fn new(
        options: TrackerOptions,
        start: Checkpoint,
        handed_out: Option<Position>,
        takeover: Takeover,
    ) -> Self {
        let last_seen = follows(start);
        let is_ahead = |position: &Position| last_seen.is_none_or(|seen| *position > seen);
        Self {
            slots: Slots::new(),
            line: Line::new(),
            keys: Keys::new(options.hash_seed),
            ready: Ready::default(),
            floor: Floor {
                last_seen,
                ack_floor: start,
                handed_out,
                stored: takeover.attempts.filter(|it| is_ahead(&it.position)),
                committed: (start, takeover.attempts),
                ended: None,
                revoked: None,
                caught_up_at: None,
            },
            load: Load::default(),
            guard: Guard {
                isolated_until: takeover.isolated_until.filter(is_ahead),
                in_order: takeover
                    .attempts
                    .is_some_and(|it| it.started && it.count > 0),
                trial: None,
                announce: takeover.announce.then_some(Announce {
                    up_to: handed_out,
                    until: None,
                }),
            },
            tokens: Tokens::starting_at(last_seen, takeover.resume_token),
            options,
        }
    }

    /// Returns how many more records fit now; 0 while the reader should wait. Small refills wait
    /// until a quarter of the events is free, unless nothing is left to hand out.
    pub(crate) fn room(&self) -> usize {
        if self.floor.ended.is_some() || self.floor.revoked.is_some() {
            return 0;
        }
        let room = self.room_at_all();
        let nothing_left = self.ready.cursor == self.line.end() && self.ready.freed.is_empty();
        if room >= self.options.max_unsettled / 4 || nothing_left {
            room
        } else {
            0
        }
    }

    /// Takes records from the reader, in order; drops those at or below the last one seen, so that
    /// a reader may reconnect. Returns how many more bytes are held now.
    pub(crate) fn fetched(&mut self, records: Vec<Record>, now: Instant) -> usize {
        if self.floor.revoked.is_some() {
            return 0;
        }
        let before = self.load.bytes;
        self.slots.reserve(records.len());
        self.line.reserve(records.len());
        for record in records {
            let Record {
                event,
                position,
                stored_at,
                resume_token,
                ..
            } = record;
            if self.floor.last_seen.is_some_and(|seen| position <= seen) {
                continue;
            }
            if let Some(token) = resume_token {
                self.tokens.fetched(position, token);
            }
            let previous = self
                .floor
                .last_seen
                .replace(position)
                .unwrap_or(Position::MIN);
            let at = self
                .slots
                .insert(event, [position, previous], stored_at, self.line.end());
            self.line.push(at);
            self.load.bytes += self.slots.at(at).bytes;
            self.keys.append(&mut self.slots, at);
            if self.floor.stored.is_some() {
                self.restore_attempts(at);
            }
        }
        self.note_limits(now);
        self.load.bytes - before
    }

    /// Ends the partition here: lost, handed off or shut down. [`progress`](Self::progress) remains
    /// available. Returns the bytes that are no longer held.
    pub(crate) fn revoke_all(&mut self, why: Revocation) -> usize {
        if self.floor.revoked.is_some() {
            return 0;
        }
        self.floor.ack_floor = self.progress().ack_floor;
        // Remove the mark, so that the last write does not leave a started attempt behind (rule 5).
        self.guard.trial = None;
        self.floor.stored = self.attempts();
        self.floor.revoked = Some(why);
        self.guard.announce = None;
        self.slots = Slots::new();
        self.line = Line::new();
        self.keys = Keys::new(self.options.hash_seed);
        self.tokens.revoke();
        self.ready = Ready::default();
        let released = self.load.bytes;
        self.load = Load {
            settled: self.load.settled,
            ..Load::default()
        };
        released
    }

    /// Returns when the next retry becomes deliverable, of those that wait for no earlier event.
    /// It stays in the past until a take: wait for it only while a receiver waits.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.ready.retries.peek().map(|Reverse((due, ..))| *due)
    }

    /// Notes that reading reached the end at `at`: if nothing is unsettled, all stored until then
    /// is settled. Returns whether that is so.
    pub(crate) fn at_end(&mut self, at: Timestamp) -> bool {
        let caught_up = self.line.len() == 0 && !self.is_revoked();
        if caught_up {
            self.floor.caught_up_at = self.floor.caught_up_at.max(Some(at));
        }
        caught_up
    }

    /// Returns the time until which everything stored is settled.
    pub(crate) fn caught_up_at(&self) -> Option<Timestamp> {
        self.floor.caught_up_at
    }

    /// Notes that the partition is closed and read to its end.
    pub(crate) fn reader_ended(&mut self, children: Vec<PartitionId>) {
        self.floor.ended = Some(children);
    }

    /// Returns where a new reader goes on: behind the last record seen; `None` at the end.
    pub(crate) fn read_from(&self) -> Option<ReadFrom> {
        match self.floor.last_seen {
            _ if self.floor.ended.is_some() => None,
            Some(seen) => Some(ReadFrom::After(seen)),
            None => self.floor.ack_floor.read_from(),
        }
    }

    /// Returns the token of the record that [`read_from`](Self::read_from) follows.
    pub(crate) fn read_token(&self) -> Option<&ResumeToken> {
        self.tokens.at(self.floor.last_seen?)
    }

    /// Returns whether everything was revoked.
    pub(crate) fn is_over(&self) -> bool {
        self.is_revoked()
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.floor.revoked.is_some()
    }

    /// Returns the room, regardless of the size of refills.
    pub(super) fn room_at_all(&self) -> usize {
        let options = &self.options;
        let parked = self.keys.parked();
        if self.load.bytes >= options.max_unsettled_bytes || parked >= options.max_parked {
            return 0;
        }
        let events = options
            .max_unsettled
            .saturating_sub(self.slots.held() - parked);
        events.min(options.max_span.saturating_sub(self.line.len()))
    }

    fn restore_attempts(&mut self, at: u32) {
        let slot = self.slots.at_mut(at);
        self.floor.stored = self.floor.stored.filter(|stored| {
            if stored.position == slot.position && stored.count > 0 {
                slot.failed = stored.count;
                slot.troubled = true;
                self.keys.trouble(slot.key);
            }
            stored.position > slot.position
        });
    }

    pub(super) fn note_limits(&mut self, now: Instant) {
        self.load.blocked_since = match self.room_at_all() {
            0 => self.load.blocked_since.or(Some(now)),
            _ => None,
        };
    }
}

/// Returns the position of the record that a checkpoint follows.
pub(super) fn follows(checkpoint: Checkpoint) -> Option<Position> {
    match checkpoint {
        Checkpoint::At(position) | Checkpoint::Start(ReadFrom::After(position)) => Some(position),
        Checkpoint::Start(_) | Checkpoint::End => None,
    }
}

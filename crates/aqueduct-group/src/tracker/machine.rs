use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use aqueduct_core::{
    Moment, PartitionId, Parts, Position, ReadFrom, Record, Revocation, Settlement, StoredAttempts,
    Watermark,
};

use super::keys::Keys;
use super::slots::{Line, NONE, Slots, State};
use super::{Settled, Takeover, TrackerOptions};

/// The state of one owned partition. See the module for how to use it.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(super) options: TrackerOptions,
    pub(super) slots: Slots,
    pub(super) line: Line,
    pub(super) keys: Keys,
    /// The first event in line that no take has looked at.
    cursor: u64,
    /// Events before the cursor that are the first of their key, or without one, and deliverable.
    freed: VecDeque<u32>,
    retries: BinaryHeap<Reverse<(Moment, u64, u32)>>,
    takes: u32,
    pub(super) in_flight: usize,
    pub(super) bytes: usize,
    pub(super) settled: usize,
    last_seen: Option<Position>,
    pub(super) watermark: Watermark,
    pub(super) handed_out: Option<Position>,
    pub(super) stored: Option<StoredAttempts>,
    pub(super) committed: (Watermark, Option<StoredAttempts>),
    pub(super) blocked_since: Option<Moment>,
    pub(super) cautious_until: Option<Position>,
    pub(super) alone: Option<Alone>,
    pub(super) announce: Option<Announce>,
    pub(super) ended: Option<Vec<PartitionId>>,
    revoked: Option<Revocation>,
}

/// The event that runs alone in cautious mode, from the choice to the settlement.
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
        start: Watermark,
        handed_out: Option<Position>,
        takeover: Takeover,
    ) -> Self {
        let last_seen = match start {
            Watermark::At(position) | Watermark::Start(ReadFrom::After(position)) => Some(position),
            Watermark::Start(_) | Watermark::End => None,
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
            watermark: start,
            handed_out,
            stored: takeover.attempts.filter(|it| is_ahead(&it.position)),
            committed: (start, takeover.attempts),
            blocked_since: None,
            cautious_until: takeover.cautious_until.filter(is_ahead),
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
    pub(crate) fn fetched(&mut self, records: Vec<Record>, now: Moment) -> usize {
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

    /// Appends what is deliverable now to `out`, up to `max`, in the order of the log; what had to
    /// wait for its key comes before what was not looked at yet.
    pub(crate) fn take(&mut self, max: usize, now: Moment, out: &mut Vec<Parts>) {
        self.wake_due(now);
        if let Some(alone) = self.alone {
            if alone.durable && self.in_flight == 0 && max > 0 {
                self.hand_out(alone.at, now, out);
            }
            return;
        }
        self.takes = self.takes.wrapping_add(1);
        let end = out.len() + max;
        while out.len() < end
            && let Some(&at) = self.freed.front()
        {
            if !self.is_open(at) {
                return;
            }
            self.freed.pop_front();
            self.hand_out_run(at, end, now, out);
        }
        while out.len() < end
            && let Some(at) = self.line.get(self.cursor)
        {
            let slot = self.slots.at(at);
            let goes = match slot.before {
                NONE => true,
                before => {
                    let before = self.slots.at(before);
                    let is_run = before.state == State::Out && before.take == self.takes;
                    is_run && !before.troubled && !slot.troubled
                }
            };
            if goes {
                if !self.is_open(at) {
                    return;
                }
                self.hand_out(at, now, out);
            }
            self.cursor += 1;
        }
    }

    /// Whether the next event runs alone and a commit of [`progress`](Self::progress), which marks
    /// it as started, must be durable before `take` hands it out. Ask only while a receiver waits:
    /// after a crash the mark counts as an attempt.
    pub(crate) fn mark_needed(&mut self, now: Moment) -> bool {
        if let Some(alone) = self.alone {
            return !alone.durable;
        }
        if self.cautious_until.is_none() || self.in_flight > 0 {
            return false;
        }
        self.wake_due(now);
        while self.freed.is_empty()
            && let Some(at) = self.line.get(self.cursor)
            && self.slots.at(at).before != NONE
        {
            self.cursor += 1;
        }
        let next = self.freed.front().copied();
        let Some(at) = next.or_else(|| self.line.get(self.cursor)) else {
            return false;
        };
        let slot = self.slots.at(at);
        if !self.is_cautious(slot.position) {
            return false;
        }
        let mark = StoredAttempts {
            position: slot.position,
            count: slot.failed.saturating_add(1),
            started: true,
        };
        if self.freed.pop_front().is_none() {
            self.cursor += 1;
        }
        self.alone = Some(Alone {
            at,
            mark,
            durable: false,
        });
        true
    }

    /// Takes back the choice of an event that was not handed out; the next commit says so.
    pub(crate) fn withdraw(&mut self) {
        if let Some(alone) = self
            .alone
            .take_if(|it| self.slots.at(it.at).state == State::Waiting)
        {
            self.freed.push_front(alone.at);
        }
    }

    /// Settles what was handed out as `parts`. A reject is refused by the caller; here it is a
    /// nack. An ack does not look at `now`; `random` is drawn for the jitter of a back-off alone.
    pub(crate) fn settle(
        &mut self,
        parts: &Parts,
        settlement: &Settlement,
        now: Moment,
        random: impl FnOnce() -> u64,
    ) -> Result<Settled, Revocation> {
        if let Some(why) = self.revoked {
            return Err(why);
        }
        let at = self.slots.out(parts.ticket).ok_or(Revocation::Superseded)?;
        Ok(match settlement {
            Settlement::Ack => self.ack(at),
            Settlement::Defer { delay } => self.hold(at, parts, now, now + *delay, false),
            Settlement::Nack {
                delay: Some(delay), ..
            } => self.hold(at, parts, now, now + *delay, true),
            _ => self.back_off(at, parts, now, random),
        })
    }

    /// A delivery was dropped unsettled: a failed attempt. A stale one changes nothing.
    pub(crate) fn abandon(
        &mut self,
        parts: &Parts,
        now: Moment,
        random: impl FnOnce() -> u64,
    ) -> Settled {
        match self.slots.out(parts.ticket) {
            Some(at) => self.back_off(at, parts, now, random),
            None => Settled::default(),
        }
    }

    /// Why that ticket may no longer be settled; `None` while it may.
    pub(crate) fn revocation(&self, ticket: u64) -> Option<Revocation> {
        match self.slots.out(ticket) {
            _ if self.revoked.is_some() => self.revoked,
            Some(_) => None,
            None => Some(Revocation::Superseded),
        }
    }

    /// Ends everything: lost, handed over, shutdown. [`progress`](Self::progress) stays to be
    /// asked. Answers the bytes that are no longer held.
    pub(crate) fn revoke_all(&mut self, why: Revocation) -> usize {
        if self.revoked.is_some() {
            return 0;
        }
        self.watermark = self.progress().watermark;
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
    pub(crate) fn next_due(&self) -> Option<Moment> {
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
            None => self.watermark.read_from(),
        }
    }

    pub(super) fn last_seen(&self) -> Option<Position> {
        self.last_seen
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

    fn is_cautious(&self, position: Position) -> bool {
        self.cautious_until.is_some_and(|until| position <= until)
    }

    /// Whether it may go without a mark or an announcement.
    fn is_open(&self, at: u32) -> bool {
        if self.cautious_until.is_none() && self.announce.is_none() {
            return true;
        }
        let position = self.slots.at(at).position;
        let announced = match self.announce {
            Some(announce) => announce.up_to.is_some_and(|up_to| position <= up_to),
            None => true,
        };
        announced && !self.is_cautious(position)
    }

    fn hand_out_run(&mut self, at: u32, end: usize, now: Moment, out: &mut Vec<Parts>) {
        self.hand_out(at, now, out);
        let first = self.slots.at(at);
        if first.troubled {
            return;
        }
        let mut next = first.behind;
        while next != NONE && out.len() < end {
            let slot = self.slots.at(next);
            let waits = slot.state == State::Waiting && slot.sequence < self.cursor;
            if !waits || slot.troubled || !self.is_open(next) {
                return;
            }
            let at = next;
            next = slot.behind;
            self.hand_out(at, now, out);
        }
    }

    #[inline]
    fn hand_out(&mut self, at: u32, now: Moment, out: &mut Vec<Parts>) {
        let slot = self.slots.at_mut(at);
        slot.state = State::Out;
        slot.round = slot.round.wrapping_add(1);
        slot.take = self.takes;
        slot.first_out.get_or_insert(now);
        let (position, stored_at) = (slot.position, slot.stored_at);
        let (ticket, attempt) = (slot.ticket(at), slot.failed.saturating_add(1));
        let is_first = slot.before == NONE;
        self.in_flight += 1;
        if self.handed_out < Some(position) {
            self.handed_out = Some(position);
        }
        let event = self.slots.event_mut(at);
        let event = if is_first {
            event.take()
        } else {
            event.clone()
        };
        if let Some(event) = event {
            let mut parts = Parts::new(event, ticket);
            parts.position = Some(position);
            parts.attempt = attempt;
            parts.stored_at = stored_at;
            out.push(parts);
        }
    }

    fn ack(&mut self, at: u32) -> Settled {
        let was_guarded = self.is_guarded();
        let slot = self.slots.at(at);
        let (sequence, released) = (slot.sequence, slot.bytes);
        let next = match slot.key {
            NONE => None,
            _ => self.keys.unlink(&mut self.slots, at),
        };
        self.slots.remove(at);
        self.bytes -= released;
        self.in_flight -= 1;
        self.settled += 1;
        if self.line.settle(sequence) {
            self.advance();
        }
        self.no_longer_alone(at);
        let mut deliverable = was_guarded && (self.in_flight == 0 || !self.is_guarded());
        if let Some(next) = next {
            let slot = self.slots.at(next);
            if slot.state == State::Waiting && slot.sequence < self.cursor {
                self.freed.push_back(next);
                deliverable = true;
            }
        }
        if self.blocked_since.is_some() && self.room_at_all() > 0 {
            self.blocked_since = None;
        }
        Settled {
            released,
            deliverable,
            ..Settled::default()
        }
    }

    fn back_off(
        &mut self,
        at: u32,
        parts: &Parts,
        now: Moment,
        random: impl FnOnce() -> u64,
    ) -> Settled {
        let failed = self.slots.at(at).failed.saturating_add(1);
        let ceiling = self.options.redelivery.ceiling(failed);
        let due = now + jitter(ceiling, random());
        self.hold(at, parts, now, due, true)
    }

    fn hold(&mut self, at: u32, parts: &Parts, now: Moment, due: Moment, failed: bool) -> Settled {
        let slot = self.slots.at_mut(at);
        slot.state = State::Retry;
        slot.failed = slot.failed.saturating_add(u32::from(failed));
        if !std::mem::replace(&mut slot.troubled, true) {
            self.keys.trouble(slot.key);
        }
        self.retries.push(Reverse((due, slot.sequence, at)));
        let mut next = slot.behind;
        let event = self.slots.event_mut(at);
        event.get_or_insert_with(|| parts.event.clone());
        self.in_flight -= 1;
        let mut superseded = false;
        while next != NONE && self.slots.at(next).state == State::Out {
            let slot = self.slots.at_mut(next);
            slot.state = State::Waiting;
            self.in_flight -= 1;
            superseded = true;
            next = slot.behind;
        }
        self.no_longer_alone(at);
        self.note_limits(now);
        Settled {
            released: 0,
            superseded,
            deliverable: self.cautious_until.is_some() && self.in_flight == 0,
            planned: true,
        }
    }

    fn no_longer_alone(&mut self, at: u32) {
        if self.alone.is_some_and(|alone| alone.at == at) {
            self.alone = None;
        }
    }

    fn wake_due(&mut self, now: Moment) {
        while let Some(Reverse((due, _, at))) = self.retries.peek().copied()
            && due <= now
        {
            self.retries.pop();
            let slot = self.slots.at_mut(at);
            slot.state = State::Waiting;
            if slot.before == NONE {
                self.freed.push_back(at);
            }
        }
    }

    fn advance(&mut self) {
        let settled = match self.line.first() {
            Some(first) => Some(self.slots.at(first).previous),
            None => self.last_seen,
        };
        let Some(settled) = settled else { return };
        self.watermark = Watermark::At(settled);
        if self.cautious_until.is_some_and(|until| settled >= until) {
            self.cautious_until = None;
        }
        let announced = self.announce.and_then(|announce| announce.until);
        if announced.is_some_and(|until| settled >= until) {
            self.announce = None;
        }
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

    fn note_limits(&mut self, now: Moment) {
        self.blocked_since = match self.room_at_all() {
            0 => self.blocked_since.or(Some(now)),
            _ => None,
        };
    }
}

/// A random part of `limit`.
fn jitter(limit: Duration, random: u64) -> Duration {
    limit.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

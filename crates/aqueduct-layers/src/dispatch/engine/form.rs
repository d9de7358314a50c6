use std::sync::Arc;

use aqueduct_core::{Event, Lane, Moment};

use super::lanes::Waiting;
use super::strand::{Entry, Hold, Meta, Resume, Strand};
use super::{Engine, Flight, FlightId, LaneOf, Launch, Rules, Timer, Work};

/// A request being put together.
pub(super) struct Draft {
    pub(super) id: FlightId,
    events: Vec<Event>,
    metas: Vec<Meta>,
    bytes: usize,
    fresh: usize,
    /// The next event does not fit.
    pub(super) full: bool,
}

impl Engine {
    /// The next request to make now, if there is one. Ask until there is none.
    pub(in crate::dispatch) fn next_flight(
        &mut self,
        now: Moment,
        lane_of: LaneOf<'_>,
    ) -> Option<Launch> {
        if let Some(direct) = self.direct.take() {
            return Some(direct);
        }
        self.fire(now);
        if self.flights.len() >= self.rules.in_flight || !self.is_due(now) {
            return None;
        }
        let (events, metas) = self.spare.pop().unwrap_or_default();
        let mut draft = Draft {
            id: self.next_flight,
            events,
            metas,
            bytes: 0,
            fresh: 0,
            full: false,
        };
        let at_rest = self.is_at_rest() && !self.is_late(now);
        if at_rest {
            self.fill_freely(now, &mut draft);
        } else {
            self.mark_flights();
            self.fill_from_waiting(now, &mut draft, lane_of);
            self.fill_from_ready(now, &mut draft, lane_of);
        }
        self.waiting_since = if self.ready.is_empty() && self.runnable.is_empty() {
            None
        } else {
            Some(now)
        };
        self.tidy_blocked();
        self.launch(now, draft, !at_rest)
    }

    fn launch(&mut self, now: Moment, mut draft: Draft, marked: bool) -> Option<Launch> {
        if draft.metas.is_empty() {
            self.spare.push((draft.events, draft.metas));
            return None;
        }
        if draft.fresh > 0 {
            self.budget.deposit();
        } else if let Err(wait) = self.budget.take(now) {
            self.put_back(now, draft, Resume::At(now + wait));
            return None;
        }
        self.tally.retried += (draft.metas.len() - draft.fresh) as u64;
        for meta in &mut draft.metas {
            meta.tried = true;
        }
        Some(self.depart(draft.events, draft.metas, marked))
    }

    /// A request is on its way from here on.
    pub(super) fn depart(&mut self, events: Vec<Event>, metas: Vec<Meta>, marked: bool) -> Launch {
        let id = self.next_flight;
        self.next_flight += 1;
        let events = Arc::new(events);
        self.flights.push(Flight {
            id,
            events: events.clone(),
            metas,
            marked,
        });
        Launch { id, events }
    }

    /// Nothing is in flight, held, paced or waiting to go: order needs no marks.
    pub(super) fn is_at_rest(&self) -> bool {
        self.flights.is_empty()
            && self.keys.is_empty()
            && self.lanes.is_empty()
            && self.runnable.is_empty()
    }

    /// Lets go of everything whose time has come.
    fn fire(&mut self, now: Moment) {
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > now {
                return;
            }
            match first.remove() {
                Timer::Entry(entry) => self.resume(now, Work::Entry(entry)),
                Timer::Key(key) => {
                    let strand = self.keys.get_mut(&key);
                    let due = strand.filter(|it| matches!(it.hold, Hold::Until(at) if at <= now));
                    if let Some(strand) = due {
                        strand.hold = Hold::Runnable;
                        self.resume(now, Work::Key(key));
                    }
                }
                Timer::Lane(lane) => {
                    if let Some(pace) = self.lanes.get(lane)
                        && pace.paused_until.is_some_and(|until| until <= now)
                    {
                        pace.paused_until = None;
                        self.resume(now, Work::Lane(lane));
                    }
                }
            }
        }
    }

    pub(super) fn resume(&mut self, now: Moment, work: Work) {
        self.runnable.push_back(work);
        self.waiting_since.get_or_insert(now);
    }

    fn is_due(&self, now: Moment) -> bool {
        let Some(due) = self.due_at() else {
            return false;
        };
        now >= due
            || self.closed
            || self.epochs.is_awaited()
            || self.ready.len() + self.runnable.len() >= self.rules.batch_events
            || self.ready_bytes >= self.rules.batch_bytes
    }

    /// Whether the next event has waited too long.
    fn is_late(&self, now: Moment) -> bool {
        let submitted = self.ready.front().map(|entry| entry.meta.submitted);
        submitted.is_some_and(|submitted| submitted + self.rules.deadline < now)
    }

    /// Nothing is in flight, held or paced: order needs no marks.
    fn fill_freely(&mut self, now: Moment, draft: &mut Draft) {
        while let Some(entry) = self.ready.front() {
            if !draft.fits(entry.meta.bytes, &self.rules) || self.is_late(now) {
                break;
            }
            self.ready_bytes -= entry.meta.bytes;
            if let Some(entry) = self.ready.pop_front() {
                draft.push(entry);
            }
        }
    }

    /// Requests that went out alone get their marks, now that another may go beside them.
    pub(super) fn mark_flights(&mut self) {
        for flight in self.flights.iter_mut().filter(|flight| !flight.marked) {
            flight.marked = true;
            for key in flight.events.iter().filter_map(Event::key_text) {
                let hold = Hold::InFlight(flight.id);
                let strand = self
                    .keys
                    .entry(key.clone())
                    .or_insert_with(|| Strand::new(hold));
                strand.hold = hold;
                strand.in_flight += 1;
            }
        }
    }

    fn fill_from_waiting(&mut self, now: Moment, draft: &mut Draft, lane_of: LaneOf<'_>) {
        while !draft.full && draft.metas.len() < self.rules.batch_events {
            match self.runnable.pop_front() {
                None => return,
                Some(Work::Key(key)) => self.take_run(now, key, draft, lane_of),
                Some(Work::Entry(entry)) => {
                    if let Some(back) = self.take_free(now, *entry, draft, lane_of) {
                        self.runnable.push_front(Work::Entry(Box::new(back)));
                    }
                }
                Some(Work::Lane(lane)) => self.release(now, lane),
            }
        }
    }

    fn fill_from_ready(&mut self, now: Moment, draft: &mut Draft, lane_of: LaneOf<'_>) {
        while !draft.full && draft.metas.len() < self.rules.batch_events {
            let Some(entry) = self.ready.pop_front() else {
                return;
            };
            self.ready_bytes -= entry.meta.bytes;
            let back = if entry.event.key().is_some() {
                self.take_keyed(now, entry, draft, lane_of)
            } else {
                self.take_free(now, entry, draft, lane_of)
            };
            if let Some(entry) = back {
                self.ready_bytes += entry.meta.bytes;
                self.ready.push_front(entry);
            }
        }
    }

    pub(super) fn wait_for_lane(&mut self, lane: Lane, waiting: Waiting) {
        if let Some(pace) = self.lanes.get(lane) {
            pace.waiting.push_back(waiting);
        }
    }

    /// Lets as many go as the lane has room for, and comes back for the rest: those released may
    /// turn out not to need it.
    pub(super) fn release(&mut self, now: Moment, lane: Lane) {
        let Some(pace) = self.lanes.get(lane) else {
            return;
        };
        if !pace.is_open() {
            return;
        }
        let room = (pace.window - pace.in_flight).min(pace.waiting.len());
        let released: Vec<Waiting> = pace.waiting.drain(..room).collect();
        let more = !pace.waiting.is_empty();
        self.let_go(now, released);
        if more {
            self.resume(now, Work::Lane(lane));
        }
    }

    pub(super) fn let_go(&mut self, now: Moment, released: impl IntoIterator<Item = Waiting>) {
        for waiting in released {
            match waiting {
                Waiting::Entry(entry) => self.resume(now, Work::Entry(entry)),
                Waiting::Key(key) => {
                    if let Some(strand) = self.keys.get_mut(&key)
                        && matches!(strand.hold, Hold::Lane(_))
                    {
                        strand.hold = Hold::Runnable;
                        self.resume(now, Work::Key(key));
                    }
                }
            }
        }
    }

    /// Unmakes a request: its events wait once more, in their order.
    fn put_back(&mut self, now: Moment, mut draft: Draft, resume: Resume) {
        for (event, mut meta) in draft.events.drain(..).zip(draft.metas.drain(..)) {
            if let Some(lane) = meta.paced.take() {
                self.lanes.leave(lane);
            }
            let key = event.key_text().cloned();
            self.send_again(now, Entry { event, meta }, resume);
            if let Some(key) = key {
                self.landed(now, &key);
            }
        }
        self.spare.push((draft.events, draft.metas));
    }

    fn tidy_blocked(&mut self) {
        let oldest = self.ready.front().map_or(u64::MAX, |entry| entry.meta.seq);
        while self.blocked.front().is_some_and(|(seq, _)| *seq <= oldest) {
            if let Some((_, key)) = self.blocked.pop_front() {
                self.tidy(&key);
            }
        }
    }
}

impl Draft {
    /// Whether one more event of that size fits. The first one always does.
    pub(super) fn fits(&self, bytes: usize, rules: &Rules) -> bool {
        self.metas.is_empty()
            || (self.metas.len() < rules.batch_events && self.bytes + bytes <= rules.batch_bytes)
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.meta.bytes;
        self.fresh += usize::from(!entry.meta.tried);
        self.events.push(entry.event);
        self.metas.push(entry.meta);
    }
}

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Event, Instant, Lane};

use super::lanes::Waiting;
use super::ready::Whole;
use super::store::{Store, Ticket};
use super::strand::{Hold, Meta, Resume, StrandId};
use super::take::Taken;
use super::{Engine, Flight, FlightId, LaneOf, Launch, Rules, Timer, Work};

/// How much longer than a single event a call is patient whose first keys are all held: 50 ms by
/// default.
const WHOLE_PATIENCE: u32 = 10;

/// Where requests take longer than that, it waits for twice as long as the last one took; but no
/// longer than this.
const MOST_PATIENCE: Duration = Duration::from_secs(1);

/// How many of its first events speak for a call.
const SAMPLE: usize = 8;

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
        now: Instant,
        lane_of: LaneOf<'_>,
    ) -> Option<Launch> {
        self.fire(now);
        if self.flights.len() >= self.rules.in_flight || !self.is_due(now) {
            return None;
        }
        let at_rest = self.is_at_rest() && !self.is_late(now);
        if !at_rest {
            self.mark_flights();
        }
        if let Some(call) = self.take_call(now) {
            self.budget.deposit();
            self.note_waiting(now);
            self.tidy_blocked();
            let launch = self.depart(now, call.events, call.metas, false);
            if !at_rest {
                self.mark_flights();
            }
            return Some(launch);
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
        if at_rest {
            self.fill_freely(now, &mut draft);
        } else {
            self.fill_from_waiting(now, &mut draft, lane_of);
            self.fill_from_ready(now, &mut draft, lane_of);
        }
        self.note_waiting(now);
        self.tidy_blocked();
        self.launch(now, draft, !at_rest)
    }

    fn note_waiting(&mut self, now: Instant) {
        let nothing = self.ready.is_empty() && self.runnable.is_empty();
        self.waiting_since = (!nothing).then_some(now);
    }

    /// The whole call that is first in line, where none of its events has to wait.
    fn take_call(&mut self, now: Instant) -> Option<Whole> {
        let call = self.ready.first_call()?;
        let mut keys = call.events.iter().filter_map(Event::key_text);
        let is_free = self.runnable.is_empty()
            && self.lanes.is_empty()
            && !self.is_late(now)
            && (self.strands.is_empty() || keys.all(|key| self.strands.find(key).is_none()));
        is_free.then(|| self.ready.pop_call()).flatten()
    }

    /// Makes single events of the whole call that is first in line; answers whether it did. A call
    /// whose first keys are held by a request under way stays whole for a while, and may go as it
    /// is when that has ended: to take it apart costs more than the time that it brings.
    fn split_call(&mut self, now: Instant) -> bool {
        let Some(call) = self.ready.first_call_mut() else {
            return false;
        };
        let since = *call.held_since.get_or_insert(now);
        let batch_wait = (self.rules.batch_wait * WHOLE_PATIENCE)
            .max((self.last_took * 2).min(MOST_PATIENCE))
            .min(self.rules.deadline);
        let is_held = |event: &Event| {
            let strand = event.key_text().and_then(|key| self.strands.find(key));
            strand.is_some_and(|id| matches!(self.strands[id].hold, Hold::InFlight(_)))
        };
        let stays = self.lanes.is_empty()
            && now < since + batch_wait
            && call.events.iter().take(SAMPLE).all(is_held);
        if !stays {
            self.ready.split_first(&mut self.store);
        }
        !stays
    }

    fn launch(&mut self, now: Instant, draft: Draft, marked: bool) -> Option<Launch> {
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
        Some(self.depart(now, draft.events, draft.metas, marked))
    }

    /// A request is on its way from here on.
    fn depart(
        &mut self,
        now: Instant,
        events: Vec<Event>,
        mut metas: Vec<Meta>,
        marked: bool,
    ) -> Launch {
        let id = self.next_flight;
        self.next_flight += 1;
        for meta in &mut metas {
            meta.tried = true;
        }
        let events = Arc::new(events);
        self.flights.push(Flight {
            id,
            departed: now,
            events: events.clone(),
            metas,
            marked,
        });
        Launch { id, events }
    }

    /// Nothing is in flight, held, paced or waiting to go: order needs no marks.
    pub(super) fn is_at_rest(&self) -> bool {
        self.flights.is_empty()
            && self.strands.is_empty()
            && self.lanes.is_empty()
            && self.runnable.is_empty()
    }

    /// Lets go of everything whose time has come.
    fn fire(&mut self, now: Instant) {
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > now {
                return;
            }
            match first.remove() {
                Timer::Event(ticket) => self.resume(now, Work::Event(ticket)),
                Timer::Key(id) => {
                    let strand = &mut self.strands[id];
                    if matches!(strand.hold, Hold::Until(at) if at <= now) {
                        strand.hold = Hold::Runnable;
                        self.resume(now, Work::Key(id));
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

    pub(super) fn resume(&mut self, now: Instant, work: Work) {
        self.runnable.push_back(work);
        self.waiting_since.get_or_insert(now);
    }

    fn is_due(&self, now: Instant) -> bool {
        let Some(due) = self.due_at() else {
            return false;
        };
        now >= due
            || self.closed
            || self.epochs.is_awaited()
            || self.ready.len() + self.runnable.len() >= self.rules.batch_events
            || self.ready.bytes() >= self.rules.batch_bytes
    }

    /// Whether the next event has waited too long.
    fn is_late(&self, now: Instant) -> bool {
        let first = self.ready.first(&self.store);
        first.is_some_and(|meta| meta.submitted + self.rules.deadline < now)
    }

    /// Nothing is in flight, held or paced: order needs no marks.
    fn fill_freely(&mut self, now: Instant, draft: &mut Draft) {
        while let Some(ticket) = self.ready.first_event() {
            let bytes = self.store.meta(ticket).bytes;
            if !draft.fits(bytes, &self.rules) || self.is_late(now) {
                break;
            }
            self.ready.pop_event(&self.store);
            draft.take(&mut self.store, ticket, None);
        }
    }

    /// Requests that went out alone get their marks, now that another may go beside them.
    pub(super) fn mark_flights(&mut self) {
        for flight in self.flights.iter_mut().filter(|flight| !flight.marked) {
            flight.marked = true;
            for (event, meta) in flight.events.iter().zip(&mut flight.metas) {
                let Some(key) = event.key_text() else {
                    continue;
                };
                let id = self.strands.of(key);
                let strand = &mut self.strands[id];
                strand.hold = Hold::InFlight(flight.id);
                strand.in_flight += 1;
                meta.strand = Some(id);
            }
        }
    }

    fn fill_from_waiting(&mut self, now: Instant, draft: &mut Draft, lane_of: LaneOf<'_>) {
        while !draft.full && draft.metas.len() < self.rules.batch_events {
            match self.runnable.pop_front() {
                None => return,
                Some(Work::Key(id)) => self.take_run(now, id, draft, lane_of),
                Some(Work::Event(ticket)) => {
                    if self.take_free(now, ticket, draft, lane_of) == Taken::Full {
                        self.runnable.push_front(Work::Event(ticket));
                    }
                }
                Some(Work::Lane(lane)) => self.release(now, lane),
            }
        }
    }

    fn fill_from_ready(&mut self, now: Instant, draft: &mut Draft, lane_of: LaneOf<'_>) {
        while !draft.full && draft.metas.len() < self.rules.batch_events {
            let Some(ticket) = self.ready.pop_event(&self.store) else {
                // What is taken already goes first; the call may then follow as it is.
                if !draft.metas.is_empty() || !self.split_call(now) {
                    return;
                }
                continue;
            };
            if self.take_keyed(now, ticket, draft, lane_of) == Taken::Full {
                self.ready.put_back(ticket, &self.store);
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
    pub(super) fn release(&mut self, now: Instant, lane: Lane) {
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

    pub(super) fn let_go(&mut self, now: Instant, released: impl IntoIterator<Item = Waiting>) {
        for waiting in released {
            match waiting {
                Waiting::Event(ticket) => self.resume(now, Work::Event(ticket)),
                Waiting::Key(id) => {
                    let strand = &mut self.strands[id];
                    if matches!(strand.hold, Hold::Lane(_)) {
                        strand.hold = Hold::Runnable;
                        self.resume(now, Work::Key(id));
                    }
                }
            }
        }
    }

    /// Unmakes a request: its events wait once more, in their order.
    fn put_back(&mut self, now: Instant, mut draft: Draft, resume: Resume) {
        for (event, mut meta) in draft.events.drain(..).zip(draft.metas.drain(..)) {
            if let Some(lane) = meta.paced.take() {
                self.lanes.leave(lane);
            }
            self.send_again(now, event, meta, resume);
            if let Some(id) = meta.strand {
                self.landed(now, id);
            }
        }
        self.spare.push((draft.events, draft.metas));
    }

    fn tidy_blocked(&mut self) {
        let oldest = self.oldest();
        while self.blocked.front().is_some_and(|(seq, _)| *seq <= oldest) {
            if let Some((_, id)) = self.blocked.pop_front() {
                self.tidy(id);
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

    /// Takes an event that goes along; `strand` counts it.
    #[inline]
    pub(super) fn take(&mut self, store: &mut Store, ticket: Ticket, strand: Option<StrandId>) {
        if let Some((event, meta)) = store.take(ticket) {
            self.bytes += meta.bytes;
            self.fresh += usize::from(!meta.tried);
            self.events.push(event);
            self.metas.push(Meta { strand, ..meta });
        }
    }
}

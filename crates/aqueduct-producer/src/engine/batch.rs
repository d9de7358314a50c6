use std::time::Duration;

use aqueduct_core::{Event, Instant, Lane};

use super::backlog::Whole;
use super::fill::Taken;
use super::key_queue::{Hold, KeyId, Meta, Resume};
use super::lanes::Waiting;
use super::pending::Work;
use super::requests::{Request, RequestId};
use super::store::{Store, Ticket};
use super::timers::Timer;
use super::{Engine, LaneOf, Rules};

/// The factor by which a whole call waits longer than a single event while its first keys are in
/// flight: 50 ms by default.
const WHOLE_CALL_FACTOR: u32 = 10;

/// The longest such wait. While requests are slow, a call waits for twice the time of the last one,
/// but no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The shortest time between two looks for something to send while nothing can be sent.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// How long a throttled lane is remembered without being used: far longer than the longest pause.
pub(super) const IDLE_LANE: Duration = Duration::from_secs(60);

/// The number of first events that are checked for a whole call.
const SAMPLE: usize = 8;

/// The result of trying to make a request.
enum Attempt {
    Made(Request),
    /// Nothing is due.
    Nothing,
    /// The request was taken apart again: the retry budget is empty.
    PutBack,
}

/// A request being put together.
pub(super) struct Batch {
    pub(super) id: RequestId,
    events: Vec<Event>,
    metas: Vec<Meta>,
    bytes: usize,
    fresh: usize,
    /// The next event does not fit.
    pub(super) full: bool,
}

impl Engine {
    /// Returns the next request to make now, if there is one. Ask until there is none.
    pub(crate) fn next_request(&mut self, now: Instant, lane_of: LaneOf<'_>) -> Option<Request> {
        loop {
            match self.try_request(now, lane_of) {
                Attempt::Made(request) => return Some(request),
                Attempt::Nothing => return None,
                // Retries that the budget does not pay for now wait under timers; others may go.
                Attempt::PutBack => {}
            }
        }
    }

    fn try_request(&mut self, now: Instant, lane_of: LaneOf<'_>) -> Attempt {
        self.fire(now);
        self.expire(now);
        if self.requests.is_full() || !self.is_due(now) {
            return Attempt::Nothing;
        }
        let at_rest = self.is_at_rest() && !self.is_late(now);
        if !at_rest {
            self.mark_requests();
        }
        if let Some(call) = self.take_call(now) {
            self.retries.deposit();
            self.pending.looked_at(now);
            self.tidy_blocked();
            let request = self.depart(now, call.events, call.metas, false, false);
            if !at_rest {
                self.mark_requests();
            }
            return Attempt::Made(request);
        }
        let (events, metas) = self.requests.buffers();
        let mut batch = Batch {
            id: self.requests.next_id(),
            events,
            metas,
            bytes: 0,
            fresh: 0,
            full: false,
        };
        if at_rest {
            self.fill_freely(now, &mut batch);
        } else {
            self.fill_from_waiting(now, &mut batch, lane_of);
            self.fill_from_ready(now, &mut batch, lane_of);
        }
        self.pending.looked_at(now);
        self.tidy_blocked();
        self.request(now, batch, !at_rest)
    }

    /// Returns the whole call at the front, if none of its events has to wait.
    fn take_call(&mut self, now: Instant) -> Option<Whole> {
        let call = self.pending.backlog.first_call()?;
        let mut keys = call.events.iter().filter_map(Event::key_text);
        let is_free = self.pending.runnable.is_empty()
            && self.lanes.is_empty()
            && !self.is_late(now)
            && (self.keys.is_empty() || keys.all(|key| self.keys.find(key).is_none()));
        is_free.then(|| self.pending.backlog.pop_call()).flatten()
    }

    /// Splits the whole call at the front into events, and returns whether it did. A call
    /// whose first keys are in flight stays whole for a while, and may go unchanged when that request
    /// has ended: splitting costs more than the time that it saves.
    fn split_call(&mut self, now: Instant) -> bool {
        let Some(call) = self.pending.backlog.first_call_mut() else {
            return false;
        };
        let since = *call.held_since.get_or_insert(now);
        let batch_wait = (self.rules.batch_wait * WHOLE_CALL_FACTOR)
            .max((self.requests.last_took() * 2).min(LONGEST_WAIT))
            .min(self.rules.deadline);
        let is_held = |event: &Event| {
            let queue = event.key_text().and_then(|key| self.keys.find(key));
            queue.is_some_and(|id| matches!(self.keys[id].hold, Hold::InFlight(_)))
        };
        let stays = self.lanes.is_empty()
            && now < since + batch_wait
            && call.events.iter().take(SAMPLE).all(is_held);
        if !stays {
            self.pending.backlog.split_first(&mut self.pending.store);
        }
        !stays
    }

    fn request(&mut self, now: Instant, batch: Batch, marked: bool) -> Attempt {
        if batch.metas.is_empty() {
            self.requests.recycle(batch.events, batch.metas);
            self.look_later(now);
            return Attempt::Nothing;
        }
        let paid = batch.fresh == 0;
        if !paid {
            self.retries.deposit();
        } else if let Err(wait) = self.retries.pay(now) {
            self.put_back(now, batch, Resume::At(now + wait));
            return Attempt::PutBack;
        }
        self.callers.stats.retried += (batch.metas.len() - batch.fresh) as u64;
        Attempt::Made(self.depart(now, batch.events, batch.metas, paid, marked))
    }

    /// Registers a request as in flight.
    fn depart(
        &mut self,
        now: Instant,
        events: Vec<Event>,
        mut metas: Vec<Meta>,
        paid: bool,
        marked: bool,
    ) -> Request {
        for meta in &mut metas {
            meta.tried = true;
        }
        self.requests.start(now, events, metas, paid, marked)
    }

    /// After a look that found nothing to send, looks again once time has passed: without that, a
    /// `batch_wait` of zero would keep the driver busy while a whole call waits for its keys.
    fn look_later(&mut self, now: Instant) {
        let pause = SHORTEST_WAIT.saturating_sub(self.gathering());
        self.pending.looked_at(now + pause);
    }

    /// Returns whether nothing is in flight, held, limited or runnable: order needs no marks then.
    pub(super) fn is_at_rest(&self) -> bool {
        self.requests.is_empty()
            && self.keys.is_empty()
            && self.lanes.is_empty()
            && self.pending.runnable.is_empty()
    }

    /// Releases everything whose timer has expired.
    fn fire(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Event(ticket) => self.pending.resume(now, Work::Event(ticket)),
                Timer::Key(id) => {
                    let queue = &mut self.keys[id];
                    if matches!(queue.hold, Hold::Until(at) if at <= now) {
                        queue.hold = Hold::Runnable;
                        self.pending.resume(now, Work::Key(id));
                    }
                }
                Timer::IdleLane(lane) => {
                    if let Some(at) = self.lanes.forget_idle(lane, now, IDLE_LANE) {
                        self.timers.set(at, Timer::IdleLane(lane));
                    }
                }
                Timer::Lane(lane) => {
                    if let Some(state) = self.lanes.get(lane)
                        && state.paused_until.is_some_and(|until| until <= now)
                    {
                        state.paused_until = None;
                        self.pending.resume(now, Work::Lane(lane));
                    }
                }
            }
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let Some(due) = self.due_at() else {
            return false;
        };
        now >= due
            || self.callers.is_closed()
            || self.callers.epochs.is_awaited()
            || self.pending.backlog.len() + self.pending.runnable.len() >= self.rules.batch_events
            || self.pending.backlog.bytes() >= self.rules.batch_bytes
    }

    /// Returns whether the deadline of the next event has passed.
    fn is_late(&self, now: Instant) -> bool {
        let first = self.pending.backlog.first(&self.pending.store);
        first.is_some_and(|meta| meta.submitted + self.rules.deadline < now)
    }

    /// Fills a batch while nothing is in flight, held or limited: order needs no marks.
    fn fill_freely(&mut self, now: Instant, batch: &mut Batch) {
        while let Some(ticket) = self.pending.backlog.first_event() {
            let bytes = self.pending.store.meta(ticket).bytes;
            if !batch.fits(bytes, &self.rules) || self.is_late(now) {
                break;
            }
            self.pending.backlog.pop_event(&self.pending.store);
            batch.take(&mut self.pending.store, ticket, None);
        }
    }

    /// Marks the keys of requests that went out alone, now that another may go beside them.
    pub(super) fn mark_requests(&mut self) {
        for request in self.requests.unmarked() {
            request.marked = true;
            for (event, meta) in request.events.iter().zip(&mut request.metas) {
                let Some(key) = event.key_text() else {
                    continue;
                };
                let id = self.keys.of(key);
                let queue = &mut self.keys[id];
                queue.hold = Hold::InFlight(request.id);
                queue.in_flight += 1;
                meta.key = Some(id);
            }
        }
    }

    fn fill_from_waiting(&mut self, now: Instant, batch: &mut Batch, lane_of: LaneOf<'_>) {
        while !batch.full && batch.metas.len() < self.rules.batch_events {
            match self.pending.runnable.pop_front() {
                None => return,
                Some(Work::Key(id)) => self.take_key(now, id, batch, lane_of),
                Some(Work::Event(ticket)) => {
                    if self.take_free(now, ticket, batch, lane_of) == Taken::Full {
                        self.pending.runnable.push_front(Work::Event(ticket));
                    }
                }
                Some(Work::Lane(lane)) => self.release(now, lane),
            }
        }
    }

    fn fill_from_ready(&mut self, now: Instant, batch: &mut Batch, lane_of: LaneOf<'_>) {
        while !batch.full && batch.metas.len() < self.rules.batch_events {
            let Some(ticket) = self.pending.backlog.pop_event(&self.pending.store) else {
                // The events taken so far go first; the call may then follow unchanged.
                if !batch.metas.is_empty() || !self.split_call(now) {
                    return;
                }
                continue;
            };
            if self.take_keyed(now, ticket, batch, lane_of) == Taken::Full {
                self.pending.backlog.put_back(ticket, &self.pending.store);
            }
        }
    }

    pub(super) fn wait_for_lane(&mut self, lane: Lane, waiting: Waiting) {
        if let Some(state) = self.lanes.get(lane) {
            state.waiting.push_back(waiting);
        }
    }

    /// Releases as many waiting events as the lane has places, and schedules another look: those
    /// released may not need their places.
    pub(super) fn release(&mut self, now: Instant, lane: Lane) {
        let Some(state) = self.lanes.get(lane) else {
            return;
        };
        if !state.is_open() {
            return;
        }
        let permits = (state.window - state.in_flight).min(state.waiting.len());
        let released: Vec<Waiting> = state.waiting.drain(..permits).collect();
        let more = !state.waiting.is_empty();
        self.let_go(now, released);
        if more {
            self.pending.resume(now, Work::Lane(lane));
        }
    }

    pub(super) fn let_go(&mut self, now: Instant, released: impl IntoIterator<Item = Waiting>) {
        for waiting in released {
            match waiting {
                Waiting::Event(ticket) => self.pending.resume(now, Work::Event(ticket)),
                Waiting::Key(id) => {
                    let queue = &mut self.keys[id];
                    if matches!(queue.hold, Hold::Lane(_)) {
                        queue.hold = Hold::Runnable;
                        self.pending.resume(now, Work::Key(id));
                    }
                }
            }
        }
    }

    /// Takes a batch apart: its events wait again, in their order.
    fn put_back(&mut self, now: Instant, mut batch: Batch, resume: Resume) {
        let mut left = Vec::new();
        for (event, mut meta) in batch.events.drain(..).zip(batch.metas.drain(..)) {
            if let Some(lane) = meta.limited.take() {
                self.lanes.leave(lane);
                left.push(lane);
            }
            self.send_again(now, event, meta, resume);
            if let Some(id) = meta.key {
                self.completed(now, id);
            }
        }
        // Others may wait for the places in these lanes, and nothing else would release them.
        for lane in left {
            self.release(now, lane);
        }
        self.requests.recycle(batch.events, batch.metas);
    }

    fn tidy_blocked(&mut self) {
        self.keys.tidy_blocked(self.pending.oldest());
    }
}

impl Batch {
    /// Returns whether another event of that size fits. The first one always does.
    pub(super) fn fits(&self, bytes: usize, rules: &Rules) -> bool {
        self.metas.is_empty()
            || (self.metas.len() < rules.batch_events && self.bytes + bytes <= rules.batch_bytes)
    }

    /// Adds an event; the queue of `key` counts it as in flight.
    #[inline]
    pub(super) fn take(&mut self, store: &mut Store, ticket: Ticket, key: Option<KeyId>) {
        if let Some((event, meta)) = store.take(ticket) {
            self.bytes += meta.bytes;
            self.fresh += usize::from(!meta.tried);
            self.events.push(event);
            self.metas.push(Meta { key, ..meta });
        }
    }
}

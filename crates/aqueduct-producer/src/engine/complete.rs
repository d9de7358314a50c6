use std::sync::Arc;

use aqueduct_core::outcomes::{blocked_error, no_outcome};
use aqueduct_core::{Effect, Error, ErrorKind, Event, Instant, Lane, Receipt, Result, Retry};

use super::key_queue::{Hold, KeyId, Meta, Resume};
use super::lanes::Waiting;
use super::pending::Work;
use super::requests::{InFlight, RequestId};
use super::store::Ticket;
use super::timers::Timer;
use super::{CallId, Engine, LaneOf, exhausted, unknown_if};

enum Verdict {
    Again(Resume),
    GiveUp(Error),
}

impl Engine {
    /// Takes the outcomes of a request, by the index of its events. A missing outcome is unknown.
    pub(crate) fn finished(
        &mut self,
        now: Instant,
        id: RequestId,
        outcomes: Vec<Result<Receipt>>,
        lane_of: LaneOf<'_>,
    ) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let all_stored =
            outcomes.len() == request.metas.len() && outcomes.iter().all(Result::is_ok);
        if !all_stored {
            self.mark_requests();
        }
        let Some(request) = self.requests.complete(now, id) else {
            return;
        };
        if request.paid && outcomes.iter().any(Result::is_ok) {
            self.retries.earned();
        }
        if all_stored && self.lanes.is_quiet() {
            self.all_stored(now, request, outcomes);
        } else {
            self.evaluate(now, request, outcomes, lane_of);
        }
    }

    fn all_stored(&mut self, now: Instant, request: InFlight, outcomes: Vec<Result<Receipt>>) {
        if request.marked {
            for id in request.metas.iter().filter_map(|meta| meta.key) {
                self.completed(now, id);
            }
        }
        let bytes = request.metas.iter().map(|meta| meta.bytes).sum();
        let count = request.metas.len();
        if let Some(first) = request.metas.first().copied()
            && self.is_whole_call(&request.metas)
        {
            self.callers.leave(first.epoch, count);
            self.answer_whole(now, first.call, outcomes);
            self.callers.stats.sent += count as u64;
            self.callers.free(count, bytes);
            return self.recycle(request.events, request.metas);
        }
        for (meta, outcome) in request.metas.iter().zip(outcomes) {
            self.callers.leave(meta.epoch, 1);
            if let Ok(receipt) = outcome {
                self.answer(now, meta, receipt);
            }
        }
        self.callers.stats.sent += request.metas.len() as u64;
        self.callers.free(request.metas.len(), bytes);
        self.recycle(request.events, request.metas);
    }

    fn evaluate(
        &mut self,
        now: Instant,
        request: InFlight,
        outcomes: Vec<Result<Receipt>>,
        lane_of: LaneOf<'_>,
    ) {
        let id = request.id;
        let mut events = Arc::try_unwrap(request.events).unwrap_or_else(|shared| (*shared).clone());
        let mut metas = request.metas;
        self.observe_lanes(&events, &outcomes, lane_of);
        let mut outcomes = outcomes.into_iter();
        for (event, mut meta) in events.drain(..).zip(metas.drain(..)) {
            let outcome = outcomes.next().unwrap_or_else(|| Err(no_outcome()));
            let queue = meta.key;
            let lane = meta.limited.take();
            if let Some(lane) = lane {
                self.lanes.leave(lane);
            }
            match outcome {
                Ok(receipt) => {
                    if let Some(lane) = lane {
                        self.lane_went_well(now, lane, id);
                    }
                    self.callers.leave(meta.epoch, 1);
                    self.callers.free(1, meta.bytes);
                    self.callers.stats.sent += 1;
                    self.answer(now, &meta, receipt);
                }
                Err(error) => self.failed(now, id, event, meta, error, lane_of),
            }
            if let Some(queue) = queue {
                self.completed(now, queue);
            }
            if let Some(lane) = lane {
                self.release(now, lane);
            }
        }
        self.requests.recycle(events, metas);
    }

    /// Finds the lanes that are over their limit, rather than refusing single events. (Rule 11)
    fn observe_lanes(
        &mut self,
        events: &[Event],
        outcomes: &[Result<Receipt>],
        lane_of: LaneOf<'_>,
    ) {
        let is_throttled = |outcome: &Result<Receipt>| {
            let error = outcome.as_ref().err();
            error.is_some_and(|error| error.is(ErrorKind::Throttled))
        };
        let seen = events.iter().zip(outcomes);
        let seen = seen.filter(|(_, outcome)| outcome.is_ok() || is_throttled(outcome));
        let seen = seen.map(|(event, outcome)| (lane_of(event), outcome.is_ok()));
        match self.lanes.is_quiet() && !outcomes.iter().any(is_throttled) {
            true => self.lanes.observe(std::iter::empty()),
            false => self.lanes.observe(seen),
        }
    }

    fn failed(
        &mut self,
        now: Instant,
        id: RequestId,
        event: Event,
        mut meta: Meta,
        error: Error,
        lane_of: LaneOf<'_>,
    ) {
        let queue = meta.key.map(|id| &self.keys[id]);
        let gave_up = queue.is_some_and(|queue| queue.gave_up);
        let resume = queue.and_then(|queue| queue.resume);
        let untouched = error.effect() == Effect::None;
        let behind = untouched && error.is(ErrorKind::Blocked);
        if gave_up {
            // Retrying would break order: an earlier event of this key failed. (Rule 2)
            let error = if untouched { blocked_error() } else { error };
            let error = unknown_if(meta.unknown, error);
            return self.fail(meta, event, error);
        }
        if let Some(resume) = resume
            && untouched
            && (behind || error.is_retryable())
        {
            // It failed because an earlier event of its key did: this does not count as an attempt.
            return self.send_again(now, event, meta, resume);
        }
        match self.judge(now, id, &event, &mut meta, &error, lane_of) {
            Verdict::Again(resume) => self.send_again(now, event, meta, resume),
            Verdict::GiveUp(error) => self.give_up(event, meta, error),
        }
    }

    fn judge(
        &mut self,
        now: Instant,
        id: RequestId,
        event: &Event,
        meta: &mut Meta,
        error: &Error,
        lane_of: LaneOf<'_>,
    ) -> Verdict {
        meta.attempts += 1;
        if error.effect() == Effect::Unknown {
            if !self.rules.resend_unknown {
                return Verdict::GiveUp(error.clone());
            }
            meta.unknown = true;
        }
        let behind = error.is(ErrorKind::Blocked);
        if !error.is_retryable() && !behind {
            return Verdict::GiveUp(unknown_if(meta.unknown, error.clone()));
        }
        let lane = error.is(ErrorKind::Throttled).then(|| lane_of(event));
        let (wait, resume) = if let Some(lane) = lane.filter(|lane| self.lanes.is_over(*lane)) {
            let until = self.throttle(now, lane, id, error.retry());
            (until.since(now), Resume::WithLane(lane))
        } else {
            // The key alone waits: the lane took others. (Rule 11)
            self.callers.stats.throttled += u64::from(lane.is_some());
            let wait = self.retries.wait(meta.attempts, error.retry());
            (wait, Resume::At(now + wait))
        };
        if meta.attempts >= self.rules.attempts || now + wait > meta.submitted + self.rules.deadline
        {
            return Verdict::GiveUp(unknown_if(meta.unknown, exhausted(error, meta.attempts)));
        }
        Verdict::Again(resume)
    }

    /// Pauses the lane and narrows its window. Returns the end of the pause.
    fn throttle(&mut self, now: Instant, lane: Lane, id: RequestId, retry: Retry) -> Instant {
        let known = self.lanes.get(lane).is_some();
        let first = self.lanes.throttled(lane, id);
        self.lanes.touch(lane, now);
        if !known {
            self.timers
                .set(now + super::batch::IDLE_LANE, Timer::IdleLane(lane));
        }
        let pause = match (first, retry) {
            (Some(times), retry) => {
                self.callers.stats.throttled += 1;
                Some(self.retries.wait(times, retry))
            }
            (None, Retry::After(hint)) => Some(hint),
            (None, _) => None,
        };
        if let Some(pause) = pause
            && let Some(until) = self.lanes.pause(lane, now, pause)
        {
            self.timers.set(until, Timer::Lane(lane));
        }
        let paused = self.lanes.get(lane).and_then(|state| state.paused_until);
        paused.unwrap_or(now)
    }

    fn lane_went_well(&mut self, now: Instant, lane: Lane, id: RequestId) {
        self.lanes.touch(lane, now);
        if self.lanes.stored(lane, id) {
            let waiting = self.lanes.recover(lane);
            self.let_go(now, waiting);
        }
    }

    /// Schedules a retry at `resume`, in front of the other events of its key.
    pub(super) fn send_again(&mut self, now: Instant, event: Event, meta: Meta, resume: Resume) {
        self.pending.deadlines.note(self.due(meta.submitted));
        let ticket = self.pending.store.put(event, meta);
        if let Some(id) = meta.key {
            let queue = &mut self.keys[id];
            queue.resume.get_or_insert(resume);
            queue.again.push(ticket);
            return;
        }
        match resume {
            Resume::At(at) => self.timers.set(at, Timer::Event(ticket)),
            Resume::WithLane(lane) if self.lanes.get(lane).is_some() => {
                self.wait_for_lane(lane, Waiting::Event(ticket));
            }
            Resume::WithLane(_) => self.pending.resume(now, Work::Event(ticket)),
        }
    }

    /// Notes that an event of the key is no longer in flight. After the last one the key continues.
    pub(super) fn completed(&mut self, now: Instant, id: KeyId) {
        let queue = &mut self.keys[id];
        queue.in_flight = queue.in_flight.saturating_sub(1);
        if queue.in_flight > 0 {
            return;
        }
        queue.gave_up = false;
        let resume = queue.resume.take();
        while let Some(ticket) = queue.again.pop() {
            queue.parked.push_front(ticket);
        }
        if queue.parked.is_empty() {
            queue.hold = Hold::None;
            return self.tidy(id);
        }
        match resume {
            Some(Resume::At(at)) => {
                queue.hold = Hold::Until(at);
                self.timers.set(at, Timer::Key(id));
            }
            Some(Resume::WithLane(lane)) if self.lanes.get(lane).is_some() => {
                queue.hold = Hold::Lane(lane);
                self.wait_for_lane(lane, Waiting::Key(id));
            }
            _ => {
                queue.hold = Hold::Runnable;
                self.pending.resume(now, Work::Key(id));
            }
        }
    }

    /// Ends the event with `error` and blocks the later events of its key. (Rule 2)
    pub(super) fn give_up(&mut self, event: Event, meta: Meta, error: Error) {
        let queue = event.key_text().map(|key| self.keys.of(key));
        self.fail(meta, event, error);
        let Some(id) = queue else { return };
        let below = self.pending.next_seq();
        let queue = &mut self.keys[id];
        queue.gave_up = queue.in_flight > 0;
        let parked = std::mem::take(&mut queue.parked);
        self.keys.block(id, below);
        for ticket in parked {
            self.fail_blocked(ticket);
        }
    }

    /// Ends an event that waits behind a failure of its key.
    pub(super) fn fail_blocked(&mut self, ticket: Ticket) {
        if let Some((event, meta)) = self.pending.store.take(ticket) {
            self.fail(meta, event, unknown_if(meta.unknown, blocked_error()));
        }
    }

    /// Ends the event with `error`. New events of its key are blocked until the caller has seen it.
    pub(super) fn fail(&mut self, meta: Meta, event: Event, error: Error) {
        self.callers.free(1, meta.bytes);
        self.callers.leave(meta.epoch, 1);
        self.callers.stats.failed.push(error.kind());
        let Some(call) = self.callers.calls.get(meta.call) else {
            return;
        };
        call.remaining -= 1;
        let done = call.remaining == 0;
        if call.abandoned {
            self.callers.lost.add(error, 1);
            if done {
                self.callers.calls.remove(meta.call);
            }
            return;
        }
        if let Some(key) = event.key_text() {
            let id = self.keys.of(key);
            self.keys.failure_unseen(id);
        }
        call.outcomes[meta.index as usize] = Err(error);
        call.failed.push((meta.index as usize, event));
        if done {
            self.callers.wakes.extend(call.waker.take());
        }
    }

    fn answer(&mut self, now: Instant, meta: &Meta, receipt: Receipt) {
        let Some(call) = self.callers.calls.get(meta.call) else {
            return;
        };
        call.outcomes[meta.index as usize] = Ok(receipt);
        call.remaining -= 1;
        if call.remaining > 0 {
            return;
        }
        self.callers.wakes.extend(call.waker.take());
        self.callers.stats.latencies.push(now.since(call.submitted));
        if call.abandoned {
            self.callers.calls.remove(meta.call);
        }
    }

    /// Returns whether these are all the events of one call, in its order.
    fn is_whole_call(&mut self, metas: &[Meta]) -> bool {
        let Some(first) = metas.first() else {
            return false;
        };
        let is_next = |(at, meta): (usize, &Meta)| {
            meta.call == first.call && meta.index as usize == at && meta.epoch == first.epoch
        };
        metas.iter().enumerate().all(is_next)
            && self.callers.calls.get(first.call).is_some_and(|call| {
                call.remaining == metas.len() && call.outcomes.len() == metas.len()
            })
    }

    fn answer_whole(&mut self, now: Instant, id: CallId, outcomes: Vec<Result<Receipt>>) {
        let Some(call) = self.callers.calls.get(id) else {
            return;
        };
        call.outcomes = outcomes;
        call.remaining = 0;
        self.callers.wakes.extend(call.waker.take());
        self.callers.stats.latencies.push(now.since(call.submitted));
        if call.abandoned {
            self.callers.calls.remove(id);
        }
    }

    fn recycle(&mut self, events: Arc<Vec<Event>>, metas: Vec<Meta>) {
        // The driver may still hold the events.
        let events = Arc::try_unwrap(events).unwrap_or_default();
        self.requests.recycle(events, metas);
    }
}

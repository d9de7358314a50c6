use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Event, Instant, Lane, Receipt, Result, Retry};

use super::lanes::Waiting;
use super::strand::{Hold, Meta, Resume, StrandId};
use super::{
    CallId, Engine, Flight, FlightId, LaneOf, Timer, Work, blocked, exhausted, unknown_if,
};

enum Verdict {
    Again(Resume),
    GiveUp(Error),
}

impl Engine {
    /// Takes the outcomes of a request, under the index of its events. Missing ones are unknown.
    pub(in crate::dispatch) fn finished(
        &mut self,
        now: Instant,
        id: FlightId,
        outcomes: Vec<Result<Receipt>>,
        lane_of: LaneOf<'_>,
    ) {
        let Some(at) = self.flights.iter().position(|flight| flight.id == id) else {
            return;
        };
        let all_stored =
            outcomes.len() == self.flights[at].metas.len() && outcomes.iter().all(Result::is_ok);
        if !all_stored {
            self.mark_flights();
        }
        let flight = self.flights.swap_remove(at);
        self.last_took = now.since(flight.departed);
        if all_stored && self.lanes.is_empty() {
            self.all_stored(now, flight, outcomes);
        } else {
            self.evaluate(now, flight, outcomes, lane_of);
        }
    }

    fn all_stored(&mut self, now: Instant, flight: Flight, outcomes: Vec<Result<Receipt>>) {
        if flight.marked {
            for id in flight.metas.iter().filter_map(|meta| meta.strand) {
                self.landed(now, id);
            }
        }
        let bytes = flight.metas.iter().map(|meta| meta.bytes).sum();
        let count = flight.metas.len();
        if let Some(first) = flight.metas.first().copied()
            && self.is_whole_call(&flight.metas)
        {
            self.epochs.leave_many(first.epoch, count, &mut self.wakes);
            self.answer_whole(now, first.call, outcomes);
            self.tally.sent += count as u64;
            self.room.free(count, bytes, &mut self.wakes);
            return self.recycle(flight.events, flight.metas);
        }
        for (meta, outcome) in flight.metas.iter().zip(outcomes) {
            self.epochs.leave(meta.epoch, &mut self.wakes);
            if let Ok(receipt) = outcome {
                self.answer(now, meta, receipt);
            }
        }
        self.tally.sent += flight.metas.len() as u64;
        self.room.free(flight.metas.len(), bytes, &mut self.wakes);
        self.recycle(flight.events, flight.metas);
    }

    fn evaluate(
        &mut self,
        now: Instant,
        flight: Flight,
        outcomes: Vec<Result<Receipt>>,
        lane_of: LaneOf<'_>,
    ) {
        let id = flight.id;
        let mut events = Arc::try_unwrap(flight.events).unwrap_or_else(|shared| (*shared).clone());
        let mut metas = flight.metas;
        let mut outcomes = outcomes.into_iter();
        for (event, mut meta) in events.drain(..).zip(metas.drain(..)) {
            let outcome = outcomes.next().unwrap_or_else(|| Err(unanswered()));
            let strand = meta.strand;
            let lane = meta.paced.take();
            if let Some(lane) = lane {
                self.lanes.leave(lane);
            }
            match outcome {
                Ok(receipt) => {
                    if let Some(lane) = lane {
                        self.lane_went_well(now, lane, id);
                    }
                    self.epochs.leave(meta.epoch, &mut self.wakes);
                    self.room.free(1, meta.bytes, &mut self.wakes);
                    self.tally.sent += 1;
                    self.answer(now, &meta, receipt);
                }
                Err(error) => self.failed(now, id, event, meta, error, lane_of),
            }
            if let Some(strand) = strand {
                self.landed(now, strand);
            }
            if let Some(lane) = lane {
                self.release(now, lane);
            }
        }
        self.spare.push((events, metas));
    }

    fn failed(
        &mut self,
        now: Instant,
        id: FlightId,
        event: Event,
        mut meta: Meta,
        error: Error,
        lane_of: LaneOf<'_>,
    ) {
        let strand = meta.strand.map(|id| &self.strands[id]);
        let gave_up = strand.is_some_and(|strand| strand.gave_up);
        let resume = strand.and_then(|strand| strand.resume);
        let untouched = error.effect() == Effect::None;
        let behind = untouched && error.is(ErrorKind::Blocked);
        if gave_up {
            // It must not be stored behind a hole, so it is not sent again, whatever befell it.
            let error = if untouched { blocked() } else { error };
            let error = unknown_if(meta.unknown, error);
            return self.fail(meta, event, error);
        }
        if let Some(resume) = resume
            && untouched
            && (behind || error.is_retryable())
        {
            // It went along in vain, which is no attempt of its own.
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
        id: FlightId,
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
        let (wait, resume) = if error.is(ErrorKind::Throttled) {
            let lane = lane_of(event);
            let until = self.throttle(now, lane, id, error.retry());
            (until.since(now), Resume::WithLane(lane))
        } else {
            let wait = self.wait(meta.attempts, error.retry());
            (wait, Resume::At(now + wait))
        };
        if meta.attempts >= self.rules.attempts || now + wait > meta.submitted + self.rules.deadline
        {
            return Verdict::GiveUp(unknown_if(meta.unknown, exhausted(error, meta.attempts)));
        }
        Verdict::Again(resume)
    }

    /// Full jitter; behind the server's hint, where it gave one.
    fn wait(&mut self, attempt: u32, retry: Retry) -> Duration {
        let fraction = self.fraction();
        match retry {
            Retry::After(hint) => hint + self.rules.backoff.ceiling(1).mul_f64(fraction),
            _ => self.rules.backoff.ceiling(attempt).mul_f64(fraction),
        }
    }

    /// Pauses and narrows the lane; answers until when it is paused.
    fn throttle(&mut self, now: Instant, lane: Lane, id: FlightId, retry: Retry) -> Instant {
        let first = self.lanes.throttled(lane, id);
        let pause = match (first, retry) {
            (Some(times), retry) => {
                self.tally.throttled += 1;
                Some(self.wait(times, retry))
            }
            (None, Retry::After(hint)) => Some(hint),
            (None, _) => None,
        };
        if let Some(pause) = pause
            && let Some(until) = self.lanes.pause(lane, now, pause)
        {
            self.set_timer(until, Timer::Lane(lane));
        }
        let paused = self.lanes.get(lane).and_then(|pace| pace.paused_until);
        paused.unwrap_or(now)
    }

    fn lane_went_well(&mut self, now: Instant, lane: Lane, id: FlightId) {
        if self.lanes.stored(lane, id) {
            let waiting = self.lanes.recover(lane);
            self.let_go(now, waiting);
        }
    }

    /// Sends the event again at `resume`; in front of its key's others, where it has a key.
    pub(super) fn send_again(&mut self, now: Instant, event: Event, meta: Meta, resume: Resume) {
        let ticket = self.store.put(event, meta);
        if let Some(id) = meta.strand {
            let strand = &mut self.strands[id];
            strand.resume.get_or_insert(resume);
            strand.again.push(ticket);
            return;
        }
        match resume {
            Resume::At(at) => self.set_timer(at, Timer::Event(ticket)),
            Resume::WithLane(lane) if self.lanes.get(lane).is_some() => {
                self.wait_for_lane(lane, Waiting::Event(ticket));
            }
            Resume::WithLane(_) => self.resume(now, Work::Event(ticket)),
        }
    }

    /// One event of the key is no longer in flight; after the last one the key goes on.
    pub(super) fn landed(&mut self, now: Instant, id: StrandId) {
        let strand = &mut self.strands[id];
        strand.in_flight = strand.in_flight.saturating_sub(1);
        if strand.in_flight > 0 {
            return;
        }
        strand.gave_up = false;
        let resume = strand.resume.take();
        while let Some(ticket) = strand.again.pop() {
            strand.parked.push_front(ticket);
        }
        if strand.parked.is_empty() {
            strand.hold = Hold::None;
            return self.tidy(id);
        }
        match resume {
            Some(Resume::At(at)) => {
                strand.hold = Hold::Until(at);
                self.set_timer(at, Timer::Key(id));
            }
            Some(Resume::WithLane(lane)) if self.lanes.get(lane).is_some() => {
                strand.hold = Hold::Lane(lane);
                self.wait_for_lane(lane, Waiting::Key(id));
            }
            _ => {
                strand.hold = Hold::Runnable;
                self.resume(now, Work::Key(id));
            }
        }
    }

    /// Ends the event with `error`; what was accepted of its key behind it is blocked.
    pub(super) fn give_up(&mut self, event: Event, meta: Meta, error: Error) {
        let strand = event.key_text().map(|key| self.strands.of(key));
        self.fail(meta, event, error);
        let Some(id) = strand else { return };
        let below = self.next_seq;
        let strand = &mut self.strands[id];
        strand.gave_up = strand.in_flight > 0;
        strand.block_below = below;
        let parked = std::mem::take(&mut strand.parked);
        self.blocked.push_back((below, id));
        for ticket in parked {
            if let Some((event, meta)) = self.store.take(ticket) {
                self.fail(meta, event, unknown_if(meta.unknown, blocked()));
            }
        }
    }

    /// Ends the event with `error`. Until its caller has seen that, its key is in trouble.
    pub(super) fn fail(&mut self, meta: Meta, event: Event, error: Error) {
        self.room.free(1, meta.bytes, &mut self.wakes);
        self.epochs.leave(meta.epoch, &mut self.wakes);
        self.tally.failed.push(error.kind());
        let Some(call) = self.calls.get(meta.call) else {
            return;
        };
        call.remaining -= 1;
        let done = call.remaining == 0;
        if call.abandoned {
            self.lost.get_or_insert(error);
            if done {
                self.calls.remove(meta.call);
            }
            return;
        }
        if let Some(key) = event.key_text() {
            let id = self.strands.of(key);
            let strand = &mut self.strands[id];
            strand.undelivered += 1;
            self.troubled += usize::from(strand.undelivered == 1);
        }
        call.outcomes[meta.index as usize] = Err(error);
        call.failed.push((meta.index as usize, event));
        if done {
            self.wakes.extend(call.waker.take());
        }
    }

    fn answer(&mut self, now: Instant, meta: &Meta, receipt: Receipt) {
        let Some(call) = self.calls.get(meta.call) else {
            return;
        };
        call.outcomes[meta.index as usize] = Ok(receipt);
        call.remaining -= 1;
        if call.remaining > 0 {
            return;
        }
        self.wakes.extend(call.waker.take());
        self.tally.latencies.push(now.since(call.submitted));
        if call.abandoned {
            self.calls.remove(meta.call);
        }
    }

    /// Whether these are the events of one call, all of them and in its order.
    fn is_whole_call(&mut self, metas: &[Meta]) -> bool {
        let Some(first) = metas.first() else {
            return false;
        };
        let is_next = |(at, meta): (usize, &Meta)| {
            meta.call == first.call && meta.index as usize == at && meta.epoch == first.epoch
        };
        metas.iter().enumerate().all(is_next)
            && self.calls.get(first.call).is_some_and(|call| {
                call.remaining == metas.len() && call.outcomes.len() == metas.len()
            })
    }

    fn answer_whole(&mut self, now: Instant, id: CallId, outcomes: Vec<Result<Receipt>>) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        call.outcomes = outcomes;
        call.remaining = 0;
        self.wakes.extend(call.waker.take());
        self.tally.latencies.push(now.since(call.submitted));
        if call.abandoned {
            self.calls.remove(id);
        }
    }

    fn recycle(&mut self, events: Arc<Vec<Event>>, mut metas: Vec<Meta>) {
        let mut events = Arc::try_unwrap(events).unwrap_or_default();
        events.clear();
        metas.clear();
        if self.spare.len() <= self.rules.in_flight {
            self.spare.push((events, metas));
        }
    }
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the producer gave fewer outcomes than it was given events",
    )
    .with_effect(Effect::Unknown)
}

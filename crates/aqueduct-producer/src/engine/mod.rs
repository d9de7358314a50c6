//! The state machine of the producer: no I/O, no clock, no tasks. Calls and outcomes go in with the
//! time at which they happen; requests to make and wakers to wake come out.

mod accept;
mod backlog;
mod batch;
mod budget;
mod callers;
mod calls;
mod complete;
mod deadline;
mod epochs;
mod fill;
#[cfg(test)]
mod invariant;
mod key_queue;
mod lanes;
mod lost;
mod pending;
mod permits;
mod requests;
mod retries;
mod store;
#[cfg(test)]
mod tests;
mod timers;

use std::task::Waker;
use std::time::Duration;

use aqueduct_core::hash::SeededHash;
use aqueduct_core::{Effect, Error, ErrorKind, Event, Instant, Lane, Limits, Retry};

use self::budget::Budget;
use self::callers::Callers;
pub(crate) use self::callers::Stats;
pub(crate) use self::calls::{Answer, CallId};
use self::key_queue::{KeyId, KeyQueues};
use self::lanes::{Lanes, Waiting};
use self::pending::{Pending, Work};
use self::permits::Permits;
pub(crate) use self::permits::WaiterId;
use self::requests::Requests;
pub(crate) use self::requests::{Request, RequestId};
use self::retries::Retries;
use self::timers::{Timer, Timers};
use crate::options::ProducerOptions;

/// Returns the lane of an event. Called only for events that failed or if any lane is limited.
pub(crate) type LaneOf<'a> = &'a dyn Fn(&Event) -> Lane;

/// The state of a producer: each part knows one subject, and the engine moves events between them.
pub(crate) struct Engine {
    rules: Rules,
    pending: Pending,
    keys: KeyQueues,
    lanes: Lanes,
    timers: Timers,
    requests: Requests,
    retries: Retries,
    callers: Callers,
}

/// The options combined with the limits of the backend.
pub(crate) struct Rules {
    linger: Duration,
    batch_wait: Duration,
    batch_events: usize,
    batch_bytes: usize,
    attempts: u32,
    deadline: Duration,
    resend_unknown: bool,
}

impl Engine {
    pub(crate) fn new(options: &ProducerOptions, limits: Limits, seed: u64) -> Self {
        let lower = |mine: usize, theirs: Option<usize>| theirs.map_or(mine, |it| mine.min(it));
        let batch_events = lower(options.max_batch_events, limits.batch_events).max(1);
        Self {
            rules: Rules {
                linger: options.linger,
                batch_wait: options.batch_wait,
                batch_events,
                batch_bytes: lower(options.max_batch_bytes, limits.batch_bytes).max(1),
                attempts: options.attempts,
                deadline: options.deadline,
                resend_unknown: options.resend_unknown,
            },
            pending: Pending::default(),
            keys: KeyQueues::new(SeededHash::new(seed)),
            lanes: Lanes::new(batch_events),
            timers: Timers::default(),
            requests: Requests::new(options.in_flight),
            retries: Retries::new(Budget::new(options.budget), options.backoff, seed),
            callers: Callers::new(Permits::new(
                options.max_buffered_events,
                options.max_buffered_bytes,
            )),
        }
    }

    /// Returns the largest number of events in a request.
    pub(crate) fn batch_events(&self) -> usize {
        self.rules.batch_events
    }

    /// Takes permits of the buffer, or a place in the line.
    pub(crate) fn reserve(
        &mut self,
        events: usize,
        bytes: usize,
    ) -> Result<Option<WaiterId>, Error> {
        self.callers.reserve(events, bytes)
    }

    /// Returns whether the waiter has its permits. After an error, or `true`, it has left the line.
    pub(crate) fn poll_reserve(&mut self, id: WaiterId, waker: &Waker) -> Result<bool, Error> {
        self.callers.poll_reserve(id, waker)
    }

    /// Removes a waiter that has gone away.
    pub(crate) fn cancel_reserve(&mut self, id: WaiterId) {
        self.callers.cancel_reserve(id);
    }

    /// Returns permits that were taken and are not used.
    pub(crate) fn unreserve(&mut self, events: usize, bytes: usize) {
        self.callers.free(events, bytes);
    }

    /// Takes permits for bytes without waiting.
    pub(crate) fn overdraw(&mut self, bytes: usize) {
        self.callers.permits.overdraw(bytes);
    }

    /// Begins a flush: everything accepted so far goes out without lingering.
    pub(crate) fn flush(&mut self) -> u64 {
        self.callers.epochs.seal()
    }

    /// Returns whether everything accepted before that flush has its outcome.
    pub(crate) fn poll_flush(&mut self, epoch: u64, waker: &Waker) -> bool {
        self.callers.epochs.poll(epoch, waker)
    }

    /// Returns the failures whose callers went away, once.
    pub(crate) fn take_lost(&mut self) -> Option<Error> {
        self.callers.lost.take()
    }

    /// Closes the engine: nothing more is accepted.
    pub(crate) fn close(&mut self) {
        self.callers.close();
    }

    /// Fails every event without an outcome, and returns their number.
    pub(crate) fn abort(&mut self) -> usize {
        let mut left = self.pending.backlog.take_all(&mut self.pending.store);
        for work in std::mem::take(&mut self.pending.runnable) {
            if let Work::Event(ticket) = work {
                left.push(ticket);
            }
        }
        for timer in self.timers.take_all() {
            if let Timer::Event(ticket) = timer {
                left.push(ticket);
            }
        }
        for waiting in self.lanes.take_all() {
            if let Waiting::Event(ticket) = waiting {
                left.push(ticket);
            }
        }
        let mut parked = self.keys.take_parked();
        parked.sort_unstable_by_key(|ticket| self.pending.store.meta(*ticket).seq);
        left.extend(parked);
        let mut count = left.len();
        for ticket in left {
            if let Some((event, meta)) = self.pending.store.take(ticket) {
                self.fail(meta, event, unknown_if(meta.unknown, closed()));
            }
        }
        for request in self.requests.take_all() {
            count += request.metas.len();
            for (event, meta) in request.events.iter().zip(request.metas) {
                self.fail(meta, event.clone(), unknown_if(true, closed()));
            }
        }
        self.pending.stop();
        count
    }

    /// Returns when the engine must be called again without an external cause.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let timer = self.timers.next();
        let due = self.due_at().filter(|_| !self.requests.is_full());
        let waits = !self.pending.store.is_empty() || !self.pending.backlog.is_empty();
        let deadline = self.pending.deadlines.next().filter(|_| waits);
        [timer, due, deadline].into_iter().flatten().min()
    }

    /// Returns the number of events without an outcome, and their bytes.
    pub(crate) fn buffered(&self) -> (usize, usize) {
        (self.callers.permits.events(), self.callers.permits.bytes())
    }

    /// Returns the number of requests in flight and of limited lanes.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.requests.len(), self.lanes.len())
    }

    /// Returns the wakers to wake: after every other call, without holding the engine.
    pub(crate) fn take_wakes(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.callers.wakes)
    }

    /// Returns the counts since the last reading.
    pub(crate) fn stats(&mut self) -> &mut Stats {
        &mut self.callers.stats
    }

    fn due_at(&self) -> Option<Instant> {
        if self.pending.is_idle() {
            return None;
        }
        self.pending.since().map(|since| since + self.gathering())
    }

    /// Returns how long events gather before a request.
    fn gathering(&self) -> Duration {
        match self.requests.is_empty() {
            true => self.rules.linger,
            false => self.rules.linger.max(self.rules.batch_wait),
        }
    }

    /// Forgets a key that is at rest.
    #[inline]
    fn tidy(&mut self, id: KeyId) {
        let oldest = self.pending.oldest();
        self.keys.tidy(id, oldest);
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the producer was closed")
}

fn unknown_if(unknown: bool, error: Error) -> Error {
    if unknown {
        error.with_effect(Effect::Unknown)
    } else {
        error
    }
}

fn exhausted(error: &Error, attempts: u32) -> Error {
    let tries = if attempts == 1 { "try" } else { "tries" };
    error
        .clone()
        .with_retry(Retry::Exhausted)
        .context(format_args!("given up after {attempts} {tries}"))
}

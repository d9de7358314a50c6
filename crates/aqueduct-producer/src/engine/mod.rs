//! The state machine of the producer: no I/O, no clock, no tasks. Calls and outcomes go in with the
//! time at which they happen; requests to make and wakers to wake come out.

mod accept;
mod backlog;
mod batch;
mod budget;
mod calls;
mod complete;
mod deadline;
mod epochs;
mod fill;
mod hash;
#[cfg(test)]
mod invariant;
mod key_queue;
mod lanes;
mod lost;
mod permits;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Event, Instant, Lane, Limits, Retry};

use self::backlog::Backlog;
use self::budget::Budget;
use self::calls::Calls;
pub(crate) use self::calls::{Answer, CallId};
use self::deadline::Deadlines;
use self::epochs::Epochs;
use self::hash::Seeded;
use self::key_queue::{KeyId, KeyQueues, Meta};
use self::lanes::{Lanes, Waiting};
use self::lost::Lost;
use self::permits::Permits;
pub(crate) use self::permits::WaiterId;
use self::store::{Store, Ticket};
use crate::options::ProducerOptions;

pub(crate) type RequestId = u64;

/// Returns the lane of an event. Called only for events that failed or if any lane is limited.
pub(crate) type LaneOf<'a> = &'a dyn Fn(&Event) -> Lane;

/// The state of a producer.
pub(crate) struct Engine {
    rules: Rules,
    /// The waiting events; the other fields refer to them by ticket.
    store: Store,
    /// Accepted events in their order, before they are assigned to a request or a queue.
    backlog: Backlog,
    /// Work that has waited and may go now, before the backlog.
    runnable: VecDeque<Work>,
    keys: KeyQueues,
    /// The number of keys with failures that their callers have not seen.
    troubled: usize,
    /// Keys that must be kept until the backlog is past that number.
    blocked: VecDeque<(u64, KeyId)>,
    lanes: Lanes,
    timers: BTreeMap<(Instant, u64), Timer>,
    deadlines: Deadlines,
    requests: Vec<InFlight>,
    /// The duration of the last request that ended.
    last_took: Duration,
    calls: Calls,
    permits: Permits,
    budget: Budget,
    random: u64,
    epochs: Epochs,
    /// When an event first became ready to go; `None` while nothing waits.
    waiting_since: Option<Instant>,
    closed: bool,
    next_seq: u64,
    next_request: RequestId,
    next_timer: u64,
    /// Failures whose callers went away, kept for `flush`.
    lost: Lost,
    spare: Vec<(Vec<Event>, Vec<Meta>)>,
    wakes: Vec<Waker>,
    stats: Stats,
}

/// The options combined with the limits of the backend.
pub(crate) struct Rules {
    linger: Duration,
    batch_wait: Duration,
    batch_events: usize,
    batch_bytes: usize,
    in_flight: usize,
    attempts: u32,
    deadline: Duration,
    backoff: aqueduct_core::Backoff,
    resend_unknown: bool,
}

/// A request to make.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) events: Arc<Vec<Event>>,
}

struct InFlight {
    id: RequestId,
    departed: Instant,
    events: Arc<Vec<Event>>,
    metas: Vec<Meta>,
    /// Whether its keys are marked. A lone request needs no marks until there is a second one.
    marked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Key(KeyId),
    Event(Ticket),
    Lane(Lane),
}

#[derive(Clone, Copy, Debug)]
enum Timer {
    Key(KeyId),
    Event(Ticket),
    /// The pause of a lane ends.
    Lane(Lane),
    /// A lane may have been idle long enough to be forgotten.
    IdleLane(Lane),
}

/// Counts since the last reading, for metrics.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) sent: u64,
    pub(crate) retried: u64,
    pub(crate) throttled: u64,
    pub(crate) failed: Vec<ErrorKind>,
    /// The time from acceptance to the last outcome, per call that ended.
    pub(crate) latencies: Vec<Duration>,
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
                in_flight: options.in_flight,
                attempts: options.attempts,
                deadline: options.deadline,
                backoff: options.backoff,
                resend_unknown: options.resend_unknown,
            },
            store: Store::default(),
            backlog: Backlog::default(),
            runnable: VecDeque::new(),
            keys: KeyQueues::new(Seeded(seed)),
            troubled: 0,
            blocked: VecDeque::new(),
            lanes: Lanes::new(batch_events),
            timers: BTreeMap::new(),
            deadlines: Deadlines::default(),
            requests: Vec::new(),
            last_took: Duration::ZERO,
            calls: Calls::default(),
            permits: Permits::new(options.max_buffered_events, options.max_buffered_bytes),
            budget: Budget::new(options.budget),
            random: seed,
            epochs: Epochs::default(),
            waiting_since: None,
            closed: false,
            next_seq: 0,
            next_request: 0,
            next_timer: 0,
            lost: Lost::default(),
            spare: Vec::new(),
            wakes: Vec::new(),
            stats: Stats::default(),
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
        if self.closed {
            return Err(closed());
        }
        Ok(self.permits.take(events, bytes))
    }

    /// Returns whether the waiter has its permits. After an error, or `true`, it has left the line.
    pub(crate) fn poll_reserve(&mut self, id: WaiterId, waker: &Waker) -> Result<bool, Error> {
        if self.closed {
            self.permits.leave(id, &mut self.wakes);
            return Err(closed());
        }
        Ok(self.permits.poll(id, waker))
    }

    /// Removes a waiter that has gone away.
    pub(crate) fn cancel_reserve(&mut self, id: WaiterId) {
        self.permits.leave(id, &mut self.wakes);
    }

    /// Returns permits that were taken and are not used.
    pub(crate) fn unreserve(&mut self, events: usize, bytes: usize) {
        self.permits.free(events, bytes, &mut self.wakes);
    }

    /// Takes permits for bytes without waiting.
    pub(crate) fn overdraw(&mut self, bytes: usize) {
        self.permits.overdraw(bytes);
    }

    /// Begins a flush: everything accepted so far goes out without lingering.
    pub(crate) fn flush(&mut self) -> u64 {
        self.epochs.seal()
    }

    /// Returns whether everything accepted before that flush has its outcome.
    pub(crate) fn poll_flush(&mut self, epoch: u64, waker: &Waker) -> bool {
        self.epochs.poll(epoch, waker)
    }

    /// Returns the failures whose callers went away, once.
    pub(crate) fn take_lost(&mut self) -> Option<Error> {
        self.lost.take()
    }

    /// Closes the engine: nothing more is accepted.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.permits.wake_all(&mut self.wakes);
    }

    /// Fails every event without an outcome, and returns their number.
    pub(crate) fn abort(&mut self) -> usize {
        let mut left = self.backlog.take_all(&mut self.store);
        for work in std::mem::take(&mut self.runnable) {
            if let Work::Event(ticket) = work {
                left.push(ticket);
            }
        }
        for timer in std::mem::take(&mut self.timers).into_values() {
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
        parked.sort_unstable_by_key(|ticket| self.store.meta(*ticket).seq);
        left.extend(parked);
        let mut count = left.len();
        for ticket in left {
            if let Some((event, meta)) = self.store.take(ticket) {
                self.fail(meta, event, unknown_if(meta.unknown, closed()));
            }
        }
        for request in std::mem::take(&mut self.requests) {
            count += request.metas.len();
            for (event, meta) in request.events.iter().zip(request.metas) {
                self.fail(meta, event.clone(), unknown_if(true, closed()));
            }
        }
        self.waiting_since = None;
        count
    }

    /// Returns when the engine must be called again without an external cause.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        let due = (self.requests.len() < self.rules.in_flight)
            .then(|| self.due_at())
            .flatten();
        let waits = !self.store.is_empty() || !self.backlog.is_empty();
        let deadline = self.deadlines.next().filter(|_| waits);
        [timer, due, deadline].into_iter().flatten().min()
    }

    /// Returns the number of events without an outcome, and their bytes.
    pub(crate) fn buffered(&self) -> (usize, usize) {
        (self.permits.events(), self.permits.bytes())
    }

    /// Returns the number of requests in flight and of limited lanes.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.requests.len(), self.lanes.len())
    }

    /// Returns the wakers to wake: after every other call, without holding the engine.
    pub(crate) fn take_wakes(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakes)
    }

    /// Returns the counts since the last reading.
    pub(crate) fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }

    fn due_at(&self) -> Option<Instant> {
        if self.backlog.is_empty() && self.runnable.is_empty() {
            return None;
        }
        let wait = if self.requests.is_empty() {
            self.rules.linger
        } else {
            self.rules.linger.max(self.rules.batch_wait)
        };
        self.waiting_since.map(|since| since + wait)
    }

    /// Returns the number of the oldest event in the backlog.
    fn oldest(&self) -> u64 {
        let first = self.backlog.first(&self.store);
        first.map_or(u64::MAX, |meta| meta.seq)
    }

    /// Forgets a key that is at rest.
    #[inline]
    fn tidy(&mut self, id: KeyId) {
        let oldest = self.oldest();
        self.keys.tidy(id, oldest);
    }

    fn set_timer(&mut self, at: Instant, timer: Timer) {
        self.timers.insert((at, self.next_timer), timer);
        self.next_timer += 1;
    }

    /// Returns a fraction from the seed (splitmix64).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
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

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aqueduct_core::{Instant, QueueMessage, SmallStr};

use super::key_queues::{KeyQueue, KeyQueues};
use super::numbered::Numbered;
use super::timers::{Timer, Timers};

/// A message in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) message: QueueMessage,
    /// The earliest time at which the service can have handed it out.
    pub(super) received_at: Instant,
    /// When its lease ends.
    pub(super) lease_end: Instant,
    /// Failed attempts.
    pub(super) runs: u32,
    pub(super) state: State,
    pub(super) extending: bool,
    /// Its ack is being sent.
    pub(super) ack_queued: bool,
    /// No extension before, after a failed one.
    pub(super) extend_after: Option<Instant>,
    /// The lease end that a delivery asked for.
    pub(super) extend_until: Option<Instant>,
    /// The place of its key's queue; `None` if nothing orders it.
    queue: Option<usize>,
    timer: Timer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Can be delivered once it is the first of its key.
    Ready,
    /// Failed; ready again at that time.
    Delayed(Instant),
    /// Delivered under that ticket.
    Delivered(u64),
    /// Handled; being acknowledged.
    Acked,
}

/// All messages in flight, by numbers that rise in the order of their receipts.
#[derive(Debug)]
pub(super) struct Messages {
    ordered: bool,
    in_flight: Numbered<InFlight>,
    by_id: HashMap<SmallStr, u64>,
    keys: KeyQueues,
    /// The messages that can be delivered: of an ordered queue the first of each free key.
    ready: BTreeSet<u64>,
    timers: Timers,
    bytes: usize,
    next: u64,
}

impl InFlight {
    pub(super) fn new(message: QueueMessage, received_at: Instant, lease: Duration) -> Self {
        Self {
            message,
            received_at,
            lease_end: received_at + lease,
            runs: 0,
            state: State::Ready,
            extending: false,
            ack_queued: false,
            extend_after: None,
            extend_until: None,
            queue: None,
            timer: Timer::Unset,
        }
    }
}

impl Messages {
    pub(super) fn new(ordered: bool) -> Self {
        Self {
            ordered,
            in_flight: Numbered::default(),
            by_id: HashMap::new(),
            keys: KeyQueues::default(),
            ready: BTreeSet::new(),
            timers: Timers::default(),
            bytes: 0,
            next: 1,
        }
    }

    /// Returns a number that rises with each call.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, number: u64) -> Option<&InFlight> {
        self.in_flight.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut InFlight> {
        self.in_flight.get_mut(&number)
    }

    pub(super) fn find(&self, id: &SmallStr) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// Returns all messages, in any order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &InFlight)> {
        self.in_flight.iter().map(|(number, it)| (*number, it))
    }

    /// Returns the numbers of the messages whose state satisfies `is`, oldest first.
    pub(super) fn with_state(&self, is: impl Fn(State) -> bool) -> Vec<u64> {
        let found = self.iter().filter(|(_, it)| is(it.state));
        let mut found: Vec<u64> = found.map(|(number, _)| number).collect();
        found.sort_unstable();
        found
    }

    pub(super) fn insert(&mut self, mut message: InFlight) -> u64 {
        let number = self.number();
        self.by_id.insert(message.message.id.clone(), number);
        self.bytes += message.message.bytes;
        if let Some(key) = message.message.order_key.as_ref().filter(|_| self.ordered) {
            message.queue = Some(self.keys.push(key, number));
        }
        let queue = message.queue;
        let state = message.state;
        self.in_flight.insert(number, message);
        self.index(number, queue, state);
        number
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<InFlight> {
        let message = self.in_flight.remove(&number)?;
        self.timers.unset(number, message.timer);
        self.by_id.remove(&message.message.id);
        self.bytes = self.bytes.saturating_sub(message.message.bytes);
        match message.queue {
            None => {
                self.ready.remove(&number);
            }
            Some(place) => {
                if let (State::Delivered(_), Some(queue)) =
                    (message.state, self.keys.get_mut(place))
                {
                    queue.delivered -= 1;
                }
                self.unready(place, number);
                self.keys.remove(place, number);
                // Nothing waits for one that is handled.
                if message.state != State::Acked {
                    self.index_key(place);
                }
            }
        }
        self.tidy_timers();
        Some(message)
    }

    pub(super) fn set_state(&mut self, number: u64, state: State) {
        let Some(message) = self.in_flight.get_mut(&number) else {
            return;
        };
        let old = std::mem::replace(&mut message.state, state);
        let place = message.queue;
        if let Some(queue) = place.and_then(|place| self.keys.get_mut(place)) {
            let delivered = |state| usize::from(matches!(state, State::Delivered(_)));
            queue.delivered = queue.delivered + delivered(state) - delivered(old);
        }
        self.index(number, place, state);
    }

    /// Returns up to `max` consecutive messages that can be delivered together, oldest key first.
    pub(super) fn next_run(&self, max: usize) -> Vec<u64> {
        let Some(first) = self.ready.first().copied() else {
            return Vec::new();
        };
        let Some(queue) = self.queue_of(first) else {
            return vec![first];
        };
        let state = |number: &u64| self.get(*number).map(|it| it.state);
        queue
            .from(first)
            .filter(|number| state(number) != Some(State::Acked))
            .take_while(|number| state(number) == Some(State::Ready))
            .take(max)
            .collect()
    }

    /// Returns the messages of the same key that come after `number`.
    pub(super) fn behind(&self, number: u64) -> Vec<u64> {
        let queue = self.queue_of(number);
        queue.map_or_else(Vec::new, |queue| queue.from(number + 1).collect())
    }

    /// Returns the handled messages of the same key that no earlier one precedes.
    pub(super) fn acked_first(&self, number: u64) -> Vec<u64> {
        let Some(queue) = self.queue_of(number) else {
            return vec![number];
        };
        let state = |it: &u64| self.get(*it).map(|it| it.state);
        queue
            .members()
            .take_while(|it| state(it) == Some(State::Acked))
            .collect()
    }

    /// Returns whether an earlier message of the same key is delivered.
    pub(super) fn is_behind_delivered(&self, number: u64) -> bool {
        let queue = self.queue_of(number).filter(|queue| queue.delivered > 0);
        let delivered = |it: u64| {
            let state = self.get(it).map(|it| it.state);
            matches!(state, Some(State::Delivered(_)))
        };
        queue.is_some_and(|queue| queue.before(number).any(delivered))
    }

    /// Sets when the message is looked at next.
    pub(super) fn set_timer(&mut self, number: u64, at: Instant) {
        if let Some(message) = self.in_flight.get_mut(&number) {
            message.timer = self.timers.set(number, message.timer, at);
            self.tidy_timers();
        }
    }

    /// Returns a message whose timer is due.
    pub(super) fn next_due(&self, now: Instant) -> Option<u64> {
        let (at, number) = self.timers.first()?;
        (at <= now).then_some(number)
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| at)
    }

    fn tidy_timers(&mut self) {
        let timer = |number| {
            self.in_flight
                .get(&number)
                .map_or(Timer::Unset, |it| it.timer)
        };
        self.timers.tidy(self.in_flight.len(), timer);
    }

    /// Returns the queue of the message's key; one without a key has an order of its own.
    fn queue_of(&self, number: u64) -> Option<&KeyQueue> {
        self.keys.get(self.get(number)?.queue?)
    }

    fn index(&mut self, number: u64, place: Option<usize>, state: State) {
        match place {
            Some(place) => self.index_key(place),
            None if state == State::Ready => {
                self.ready.insert(number);
            }
            None => {
                self.ready.remove(&number);
            }
        }
    }

    /// Rule 2: while one of a key is out, or fails at its head, nothing behind it is delivered.
    fn index_key(&mut self, place: usize) {
        let Some(queue) = self.keys.get_mut(place) else {
            return;
        };
        let mut ready = None;
        if queue.delivered == 0 {
            let state = |number: &u64| self.in_flight.get(number).map(|it| it.state);
            let mut waiting = queue
                .members()
                .filter_map(|number| Some((number, state(&number)?)))
                .filter(|(_, state)| *state != State::Acked);
            ready = waiting
                .next()
                .filter(|(_, state)| *state == State::Ready)
                .map(|(number, _)| number);
        }
        if queue.ready == ready {
            return;
        }
        let old = std::mem::replace(&mut queue.ready, ready);
        if let Some(old) = old {
            self.ready.remove(&old);
        }
        self.ready.extend(ready);
    }

    /// Takes a message that goes out of what can be delivered.
    fn unready(&mut self, place: usize, number: u64) {
        let queue = self.keys.get_mut(place);
        if let Some(queue) = queue.filter(|queue| queue.ready == Some(number)) {
            queue.ready = None;
            self.ready.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::Event;

    use super::*;

    fn message(key: &str, n: u32) -> InFlight {
        let id: SmallStr = format!("{key}{n}").into();
        let mut message = QueueMessage::new(id.clone(), id, Event::new("t"));
        message.order_key = Some(key.into());
        InFlight::new(message, Instant::default(), Duration::from_secs(60))
    }

    #[test]
    fn the_first_of_a_free_key_can_be_delivered() {
        let mut messages = Messages::new(true);
        let numbers: Vec<u64> = (0..3).map(|n| messages.insert(message("a", n))).collect();
        let other = messages.insert(message("b", 0));
        assert_eq!(messages.next_run(2), numbers[..2]);
        assert_eq!(messages.behind(numbers[0]), numbers[1..]);
        messages.set_state(numbers[0], State::Delivered(9));
        assert_eq!(messages.next_run(9), [other]);
        messages.set_state(numbers[0], State::Acked);
        assert_eq!(messages.next_run(9), numbers[1..]);
        messages.set_state(numbers[1], State::Delayed(Instant::default()));
        assert_eq!(messages.next_run(9), [other]);
        for number in numbers {
            messages.remove(number);
        }
        assert_eq!((messages.len(), messages.keys.len()), (1, 1));
    }

    #[test]
    fn an_unordered_queue_has_no_runs() {
        let mut messages = Messages::new(false);
        let first = messages.insert(message("a", 0));
        let second = messages.insert(message("a", 1));
        assert_eq!(messages.next_run(9), [first]);
        messages.set_state(first, State::Delivered(9));
        assert_eq!(messages.next_run(9), [second]);
        assert!(messages.behind(first).is_empty());
    }
}

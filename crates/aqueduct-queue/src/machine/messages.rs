use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aqueduct_core::{Instant, QueueMessage, SmallStr};

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
    timer: Instant,
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

/// The messages of one key, in order, of an ordered queue.
#[derive(Debug, Default)]
struct KeyQueue {
    members: BTreeSet<u64>,
    /// The member that is in `ready`.
    ready: Option<u64>,
}

/// All messages in flight, by numbers that rise in the order of their receipts.
#[derive(Debug)]
pub(super) struct Messages {
    ordered: bool,
    in_flight: BTreeMap<u64, InFlight>,
    by_id: BTreeMap<SmallStr, u64>,
    keys: BTreeMap<SmallStr, KeyQueue>,
    /// The messages that can be delivered: of an ordered queue the first of each free key.
    ready: BTreeSet<u64>,
    timers: BTreeSet<(Instant, u64)>,
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
            timer: Instant::default(),
        }
    }
}

impl Messages {
    pub(super) fn new(ordered: bool) -> Self {
        Self {
            ordered,
            in_flight: BTreeMap::new(),
            by_id: BTreeMap::new(),
            keys: BTreeMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
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

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &InFlight)> {
        self.in_flight.iter().map(|(number, it)| (*number, it))
    }

    /// Returns the numbers of the messages whose state satisfies `is`, oldest first.
    pub(super) fn with_state(&self, is: impl Fn(State) -> bool) -> Vec<u64> {
        let found = self.iter().filter(|(_, it)| is(it.state));
        found.map(|(number, _)| number).collect()
    }

    pub(super) fn insert(&mut self, message: InFlight) -> u64 {
        let number = self.number();
        self.by_id.insert(message.message.id.clone(), number);
        self.bytes += message.message.bytes;
        if let Some(key) = self.key_of(&message) {
            self.keys.entry(key).or_default().members.insert(number);
        }
        self.in_flight.insert(number, message);
        self.index(number);
        number
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<InFlight> {
        let message = self.in_flight.remove(&number)?;
        self.timers.remove(&(message.timer, number));
        self.by_id.remove(&message.message.id);
        self.ready.remove(&number);
        self.bytes = self.bytes.saturating_sub(message.message.bytes);
        if let Some(key) = self.key_of(&message) {
            if let Some(queue) = self.keys.get_mut(&key) {
                queue.members.remove(&number);
            }
            self.index_key(&key);
        }
        Some(message)
    }

    pub(super) fn set_state(&mut self, number: u64, state: State) {
        if let Some(message) = self.in_flight.get_mut(&number) {
            message.state = state;
            self.index(number);
        }
    }

    /// Returns up to `max` consecutive messages that can be delivered together, oldest key first.
    pub(super) fn next_run(&self, max: usize) -> Vec<u64> {
        let Some(first) = self.ready.first().copied() else {
            return Vec::new();
        };
        let key = self.get(first).and_then(|it| self.key_of(it));
        let Some(queue) = key.and_then(|key| self.keys.get(&key)) else {
            return vec![first];
        };
        let state = |number: &u64| self.get(*number).map(|it| it.state);
        queue
            .members
            .range(first..)
            .copied()
            .filter(|number| state(number) != Some(State::Acked))
            .take_while(|number| state(number) == Some(State::Ready))
            .take(max)
            .collect()
    }

    /// Returns the messages of the same key that come after `number`.
    pub(super) fn behind(&self, number: u64) -> Vec<u64> {
        self.get(number)
            .and_then(|it| self.key_of(it))
            .and_then(|key| self.keys.get(&key))
            .map(|queue| queue.members.range(number + 1..).copied().collect())
            .unwrap_or_default()
    }

    /// Returns the handled messages of the same key that no earlier one precedes.
    pub(super) fn acked_first(&self, number: u64) -> Vec<u64> {
        let key = self.get(number).and_then(|it| self.key_of(it));
        let Some(queue) = key.and_then(|key| self.keys.get(&key)) else {
            return vec![number];
        };
        let state = |it: &u64| self.get(*it).map(|it| it.state);
        let members = queue.members.iter().copied();
        members
            .take_while(|it| state(it) == Some(State::Acked))
            .collect()
    }

    /// Returns whether an earlier message of the same key is delivered.
    pub(super) fn is_behind_delivered(&self, number: u64) -> bool {
        let key = self.get(number).and_then(|it| self.key_of(it));
        let Some(queue) = key.and_then(|key| self.keys.get(&key)) else {
            return false;
        };
        let delivered = |it: &u64| {
            let state = self.get(*it).map(|it| it.state);
            matches!(state, Some(State::Delivered(_)))
        };
        queue.members.range(..number).any(delivered)
    }

    /// Sets when the message is looked at next.
    pub(super) fn set_timer(&mut self, number: u64, at: Instant) {
        if let Some(message) = self.in_flight.get_mut(&number) {
            self.timers.remove(&(message.timer, number));
            message.timer = at;
            self.timers.insert((at, number));
        }
    }

    /// Returns a message whose timer is due.
    pub(super) fn next_due(&self, now: Instant) -> Option<u64> {
        let (at, number) = self.timers.first()?;
        (*at <= now).then_some(*number)
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Returns the key that orders a message; one without a key has an order of its own.
    fn key_of(&self, it: &InFlight) -> Option<SmallStr> {
        let key = it.message.order_key.as_ref().unwrap_or(&it.message.id);
        self.ordered.then(|| key.clone())
    }

    fn index(&mut self, number: u64) {
        let Some(message) = self.in_flight.get(&number) else {
            return;
        };
        match self.key_of(message) {
            Some(key) => self.index_key(&key),
            None if message.state == State::Ready => {
                self.ready.insert(number);
            }
            None => {
                self.ready.remove(&number);
            }
        }
    }

    /// Rule 2: while one of a key is out, or fails at its head, nothing behind it is delivered.
    fn index_key(&mut self, key: &SmallStr) {
        let Some(queue) = self.keys.get_mut(key) else {
            return;
        };
        let mut head = None;
        for number in &queue.members {
            match self.in_flight.get(number).map(|it| it.state) {
                Some(State::Acked) | None => {}
                Some(State::Delivered(_)) => {
                    head = None;
                    break;
                }
                Some(State::Ready) if head.is_none() => head = Some((*number, true)),
                _ => head = head.or(Some((*number, false))),
            }
        }
        let ready = head.and_then(|(number, ready)| ready.then_some(number));
        if let Some(old) = std::mem::replace(&mut queue.ready, ready) {
            self.ready.remove(&old);
        }
        self.ready.extend(ready);
        if queue.members.is_empty() {
            self.keys.remove(key);
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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::consumers::Consumers;
use super::entry::{Entry, State};
use super::keys::Keys;
use super::message::{Message, Time};

/// The messages of a subscription that are not acknowledged, and their leases.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) rules: Rules,
    entries: BTreeMap<u64, Entry>,
    /// Messages without an ordering key that wait for a consumer.
    free: BTreeSet<u64>,
    keys: Keys,
    /// When each lease ends, or the back-off of a message.
    deadlines: BTreeSet<(Time, u64)>,
    consumers: Consumers,
    counts: Counts,
    /// Failed as often as the dead letter policy allows, with the number of attempts.
    dead: Vec<(Arc<Message>, u32)>,
}

/// The settings of a subscription that decide about deliveries.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) ordered: bool,
    pub(super) exactly_once: bool,
    pub(super) max_attempts: Option<u32>,
    /// Shortest and longest wait after a failure.
    pub(super) backoff: Option<(Duration, Duration)>,
    pub(super) retention: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    deliveries: u64,
    /// Deliveries up to this one were made before the last seek.
    stale: u64,
}

/// The flow control of a consumer; `None` for no limit.
#[derive(Clone, Copy, Debug)]
pub(in crate::pubsub) struct Limits {
    pub(in crate::pubsub) batch: usize,
    pub(in crate::pubsub) messages: Option<u64>,
    pub(in crate::pubsub) bytes: Option<u64>,
}

#[derive(Debug)]
pub(in crate::pubsub) struct Delivery {
    pub(super) message: Arc<Message>,
    pub(super) delivery: u64,
    /// `None` without a dead letter policy.
    pub(super) attempt: Option<u32>,
}

impl Backlog {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            entries: BTreeMap::new(),
            free: BTreeSet::new(),
            keys: Keys::default(),
            deadlines: BTreeSet::new(),
            consumers: Consumers::default(),
            counts: Counts::default(),
            dead: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, message: Arc<Message>) {
        let number = message.number;
        self.entries.insert(number, Entry::new(message));
        self.wait(number);
    }

    /// Adds a message again that could not become a dead letter.
    pub(super) fn put_back(&mut self, message: Arc<Message>, failures: u32) {
        let number = message.number;
        let entry = Entry {
            failures,
            ..Entry::new(Arc::clone(&message))
        };
        self.entries.insert(number, entry);
        self.wait(number);
        if let Some(key) = self.rules.key(&message) {
            for later in self.keys.fail(key, number, delayed(&self.entries)) {
                self.release(later);
            }
        }
    }

    /// Delivers messages to a consumer within its limits.
    pub(super) fn pull(&mut self, consumer: u64, limits: Limits, until: Time) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while deliveries.len() < limits.batch {
            let (free, keyed) = (self.free.first().copied(), self.keys.first(consumer));
            let Some(number) = free.into_iter().chain(keyed).min() else {
                break;
            };
            let Some(entry) = self.entries.get_mut(&number) else {
                break;
            };
            let load = self.consumers.load(consumer);
            let size = entry.message.size;
            let full = limits.messages.is_some_and(|most| load.messages >= most)
                || limits
                    .bytes
                    .is_some_and(|most| load.messages > 0 && load.bytes + size as u64 > most);
            if full {
                break;
            }
            self.counts.deliveries += 1;
            entry.state = State::Leased { consumer, until };
            entry.delivery = self.counts.deliveries;
            let attempt = self.rules.max_attempts.map(|_| entry.failures + 1);
            let message = Arc::clone(&entry.message);
            self.deadlines.insert((until, number));
            self.consumers.add(consumer, size);
            self.free.remove(&number);
            if let Some(key) = self.rules.key(&message) {
                let delayed = delayed(&self.entries);
                self.keys.lease(key, number, consumer, delayed);
            }
            deliveries.push(Delivery {
                message,
                delivery: self.counts.deliveries,
                attempt,
            });
        }
        deliveries
    }

    /// Acknowledges a delivery; returns whether that counts, and the messages that are done with.
    pub(super) fn acknowledge(&mut self, number: u64, delivery: u64) -> (bool, Vec<Arc<Message>>) {
        let Some(entry) = self.entries.get(&number) else {
            // Acknowledged before: with exactly-once delivery its lease is gone.
            return (!self.rules.exactly_once, Vec::new());
        };
        let message = Arc::clone(&entry.message);
        let key = self.rules.key(&message);
        let current = entry.delivery == delivery && matches!(entry.state, State::Leased { .. });
        // The service accepts a late acknowledgement unless it promised more.
        let late = delivery > self.counts.stale && key.is_none() && !self.rules.exactly_once;
        if !current && !late {
            return (!self.rules.exactly_once, Vec::new());
        }
        self.release(number);
        let done = match key {
            None => {
                self.free.remove(&number);
                vec![number]
            }
            Some(key) => {
                if let Some(entry) = self.entries.get_mut(&number) {
                    entry.state = State::Acknowledged;
                }
                self.keys.acknowledge(key, number, delayed(&self.entries))
            }
        };
        let done = done.iter().filter_map(|number| self.entries.remove(number));
        (true, done.map(|entry| entry.message).collect())
    }

    /// Moves the end of a lease; returns whether the delivery is still leased.
    pub(super) fn extend(&mut self, number: u64, delivery: u64, until: Time) -> bool {
        let Some(entry) = self.leased(number, delivery) else {
            return false;
        };
        if let State::Leased { until: old, .. } = &mut entry.state {
            let old = std::mem::replace(old, until);
            self.deadlines.remove(&(old, number));
            self.deadlines.insert((until, number));
        }
        true
    }

    /// Gives a delivery back; returns whether it was still leased.
    pub(super) fn nack(&mut self, number: u64, delivery: u64, now: Time) -> bool {
        let current = self.leased(number, delivery).is_some();
        if current {
            self.fail(number, now);
        }
        current
    }

    /// Ends leases and back-offs whose time is over and forgets messages past their retention.
    pub(super) fn tick(&mut self, now: Time) {
        while let Some((until, number)) = self.deadlines.first().copied() {
            if until > now {
                break;
            }
            match self.entries.get_mut(&number).map(|entry| &mut entry.state) {
                Some(State::Leased { .. }) => self.fail(number, now),
                Some(state) => {
                    *state = State::Ready;
                    self.deadlines.remove(&(until, number));
                    self.wait(number);
                }
                None => {
                    self.deadlines.remove(&(until, number));
                }
            }
        }
        while let Some((number, entry)) = self.entries.first_key_value() {
            if entry.message.published + self.rules.retention > now {
                break;
            }
            self.forget(*number);
        }
    }

    /// Returns when `tick` has something to do.
    pub(super) fn next_event(&self) -> Option<Time> {
        let lease = self.deadlines.first().map(|(until, _)| *until);
        let oldest = self.entries.first_key_value();
        let expiry = oldest.map(|(_, entry)| entry.message.published + self.rules.retention);
        lease.into_iter().chain(expiry).min()
    }

    pub(super) fn take_dead(&mut self) -> Vec<(Arc<Message>, u32)> {
        std::mem::take(&mut self.dead)
    }

    /// Returns the unacknowledged messages in order.
    pub(super) fn unacknowledged(&self) -> impl Iterator<Item = &Arc<Message>> {
        let entries = self.entries.values();
        let open = entries.filter(|entry| entry.state != State::Acknowledged);
        open.map(|entry| &entry.message)
    }

    /// Replaces all messages; deliveries made before have no effect any more.
    pub(super) fn replace(&mut self, messages: impl IntoIterator<Item = Arc<Message>>) {
        self.entries.clear();
        self.free.clear();
        self.keys.clear();
        self.deadlines.clear();
        self.consumers.clear();
        self.counts.stale = self.counts.deliveries;
        for message in messages {
            self.add(message);
        }
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.consumers.outstanding()
    }

    fn leased(&mut self, number: u64, delivery: u64) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&number)?;
        let leased = matches!(entry.state, State::Leased { .. }) && entry.delivery == delivery;
        leased.then_some(entry)
    }

    /// Takes a message out of its lease or back-off.
    fn release(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        match entry.state {
            State::Leased { consumer, until } => {
                self.deadlines.remove(&(until, number));
                self.consumers.remove(consumer, entry.message.size);
            }
            State::Delayed(until) => {
                self.deadlines.remove(&(until, number));
            }
            State::Ready | State::Acknowledged => {}
        }
        entry.state = State::Ready;
    }

    fn fail(&mut self, number: u64, now: Time) {
        self.release(number);
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.failures += 1;
        let (message, failures) = (Arc::clone(&entry.message), entry.failures);
        if self.rules.max_attempts.is_some_and(|most| failures >= most) {
            self.dead.push((message, failures));
            self.forget(number);
            return;
        }
        if let Some(delay) = self.rules.delay(failures) {
            entry.state = State::Delayed(now + delay);
            self.deadlines.insert((now + delay, number));
        }
        match self.rules.key(&message) {
            None if self.rules.backoff.is_some() => {}
            None => {
                self.free.insert(number);
            }
            Some(key) => {
                let again = self.keys.fail(key, number, delayed(&self.entries));
                for later in again {
                    self.release(later);
                }
            }
        }
    }

    fn wait(&mut self, number: u64) {
        let Some(entry) = self.entries.get(&number) else {
            return;
        };
        match self.rules.key(&entry.message) {
            None => {
                self.free.insert(number);
            }
            Some(key) => self.keys.wait(key, number, delayed(&self.entries)),
        }
    }

    fn forget(&mut self, number: u64) {
        self.release(number);
        let Some(entry) = self.entries.remove(&number) else {
            return;
        };
        self.free.remove(&number);
        if let Some(key) = self.rules.key(&entry.message) {
            for done in self.keys.remove(key, number, delayed(&self.entries)) {
                self.entries.remove(&done);
            }
        }
    }
}

fn delayed(entries: &BTreeMap<u64, Entry>) -> impl Fn(u64) -> bool {
    |number| {
        let state = entries.get(&number).map(|entry| entry.state);
        matches!(state, Some(State::Delayed(_)))
    }
}

impl Rules {
    /// Returns the ordering key that binds a message.
    fn key<'a>(&self, message: &'a Message) -> Option<&'a str> {
        let key = &message.wire.ordering_key;
        (self.ordered && !key.is_empty()).then_some(key)
    }

    fn delay(&self, failures: u32) -> Option<Duration> {
        let (least, most) = self.backoff?;
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        Some(least.saturating_mul(doubled).min(most))
    }
}

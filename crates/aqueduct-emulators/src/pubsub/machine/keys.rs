use std::collections::{BTreeSet, HashMap};

/// The ordering keys of a subscription that has message ordering.
///
/// A key's messages go to one consumer at a time, in order: the next one is on offer only after all earlier ones are
/// delivered, and only to the consumer that holds some of them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: HashMap<String, Key>,
    /// First waiting messages of keys that no consumer holds.
    free: BTreeSet<u64>,
    /// First waiting messages of keys by the consumer that holds earlier ones.
    bound: HashMap<u64, BTreeSet<u64>>,
}

#[derive(Debug, Default)]
struct Key {
    waiting: BTreeSet<u64>,
    leased: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    holder: Option<u64>,
    /// The message on offer, and to whom.
    offered: Option<(u64, Option<u64>)>,
}

impl Keys {
    /// Returns the first message on offer to `consumer`.
    pub(super) fn first(&self, consumer: u64) -> Option<u64> {
        let bound = self.bound.get(&consumer).and_then(BTreeSet::first);
        bound.or(self.free.first()).copied()
    }

    /// Adds a message that waits. `delayed` tells whether a message is in back-off.
    pub(super) fn wait(&mut self, name: &str, number: u64, delayed: impl Fn(u64) -> bool) {
        let key = match self.keys.get_mut(name) {
            Some(key) => key,
            None => self.keys.entry(name.to_owned()).or_default(),
        };
        key.waiting.insert(number);
        self.offer(name, delayed);
    }

    pub(super) fn lease(
        &mut self,
        name: &str,
        number: u64,
        consumer: u64,
        delayed: impl Fn(u64) -> bool,
    ) {
        if let Some(key) = self.keys.get_mut(name) {
            key.waiting.remove(&number);
            key.leased.insert(number);
            key.holder = Some(consumer);
        }
        self.offer(name, delayed);
    }

    /// Acknowledges a message; returns those that nothing can bring back: no earlier one is unacknowledged.
    pub(super) fn acknowledge(
        &mut self,
        name: &str,
        number: u64,
        delayed: impl Fn(u64) -> bool,
    ) -> Vec<u64> {
        let Some(key) = self.keys.get_mut(name) else {
            return vec![number];
        };
        key.waiting.remove(&number);
        key.leased.remove(&number);
        key.acknowledged.insert(number);
        let done = key.settle();
        self.offer(name, delayed);
        done
    }

    /// Ends the lease of a message that failed; returns the later ones that have to come again after it.
    pub(super) fn fail(
        &mut self,
        name: &str,
        number: u64,
        delayed: impl Fn(u64) -> bool,
    ) -> Vec<u64> {
        let Some(key) = self.keys.get_mut(name) else {
            return Vec::new();
        };
        let mut again: Vec<u64> = key.leased.range(number + 1..).copied().collect();
        again.extend(key.acknowledged.range(number + 1..));
        for number in again.iter().chain([&number]) {
            key.leased.remove(number);
            key.acknowledged.remove(number);
            key.waiting.insert(*number);
        }
        self.offer(name, delayed);
        again
    }

    /// Forgets a message; returns those that were only kept because of it.
    pub(super) fn remove(
        &mut self,
        name: &str,
        number: u64,
        delayed: impl Fn(u64) -> bool,
    ) -> Vec<u64> {
        let Some(key) = self.keys.get_mut(name) else {
            return Vec::new();
        };
        key.waiting.remove(&number);
        key.leased.remove(&number);
        key.acknowledged.remove(&number);
        let done = key.settle();
        self.offer(name, delayed);
        done
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Puts the first waiting message of a key on offer, unless it is in back-off.
    pub(super) fn offer(&mut self, name: &str, delayed: impl Fn(u64) -> bool) {
        let Some(key) = self.keys.get_mut(name) else {
            return;
        };
        if key.leased.is_empty() {
            key.holder = None;
        }
        let first = key
            .waiting
            .first()
            .copied()
            .filter(|first| !delayed(*first));
        let offer = first.map(|first| (first, key.holder));
        if offer == key.offered {
            if key.is_empty() {
                self.keys.remove(name);
            }
            return;
        }
        let old = std::mem::replace(&mut key.offered, offer);
        let empty = key.is_empty();
        match old {
            Some((number, None)) => {
                self.free.remove(&number);
            }
            Some((number, Some(holder))) => {
                if let Some(bound) = self.bound.get_mut(&holder) {
                    bound.remove(&number);
                    if bound.is_empty() {
                        self.bound.remove(&holder);
                    }
                }
            }
            None => {}
        }
        match offer {
            Some((number, None)) => {
                self.free.insert(number);
            }
            Some((number, Some(holder))) => {
                self.bound.entry(holder).or_default().insert(number);
            }
            None => {}
        }
        if empty {
            self.keys.remove(name);
        }
    }
}

impl Key {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.leased.is_empty() && self.acknowledged.is_empty()
    }

    /// Takes the acknowledged messages that no unacknowledged one precedes.
    fn settle(&mut self) -> Vec<u64> {
        let (waiting, leased) = (self.waiting.first(), self.leased.first());
        let first = waiting.into_iter().chain(leased).min().copied();
        let kept = first.map(|first| self.acknowledged.split_off(&first));
        let done = std::mem::replace(&mut self.acknowledged, kept.unwrap_or_default());
        done.into_iter().collect()
    }
}

use std::collections::{HashMap, VecDeque};

use aqueduct_core::SmallStr;

/// The messages of one key, in order.
#[derive(Debug, Default)]
pub(super) struct KeyQueue {
    key: SmallStr,
    /// Rising: messages come in the order of their numbers.
    members: VecDeque<u64>,
    /// How many of them are delivered.
    pub(super) delivered: usize,
    /// The member that can be delivered.
    pub(super) ready: Option<u64>,
}

/// The queues of the keys that have messages. A message remembers the place of its queue, so that its key
/// is looked up once.
#[derive(Debug, Default)]
pub(super) struct KeyQueues {
    places: HashMap<SmallStr, usize>,
    queues: Vec<KeyQueue>,
    free: Vec<usize>,
}

impl KeyQueues {
    /// Adds a message behind those of its key; returns the place of their queue.
    pub(super) fn push(&mut self, key: &SmallStr, number: u64) -> usize {
        let place = match self.places.get(key) {
            Some(place) => *place,
            None => {
                let place = self.free.pop().unwrap_or_else(|| {
                    self.queues.push(KeyQueue::default());
                    self.queues.len() - 1
                });
                self.queues[place].key = key.clone();
                self.places.insert(key.clone(), place);
                place
            }
        };
        self.queues[place].members.push_back(number);
        place
    }

    /// Removes a message; the queue goes with its last one.
    pub(super) fn remove(&mut self, place: usize, number: u64) {
        let Some(queue) = self.queues.get_mut(place) else {
            return;
        };
        if let Ok(at) = queue.members.binary_search(&number) {
            queue.members.remove(at);
        }
        if queue.members.is_empty() {
            let queue = std::mem::take(queue);
            self.places.remove(&queue.key);
            self.free.push(place);
        }
        if self.places.is_empty() {
            self.queues.clear();
            self.free.clear();
        }
    }

    pub(super) fn get(&self, place: usize) -> Option<&KeyQueue> {
        self.queues.get(place)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut KeyQueue> {
        self.queues.get_mut(place)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

impl KeyQueue {
    pub(super) fn members(&self) -> impl Iterator<Item = u64> {
        self.members.iter().copied()
    }

    /// Returns `number` and the messages behind it.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = u64> {
        let first = self.members.partition_point(|it| *it < number);
        self.members.range(first..).copied()
    }

    /// Returns the messages before `number`.
    pub(super) fn before(&self, number: u64) -> impl Iterator<Item = u64> {
        self.members
            .iter()
            .copied()
            .take_while(move |it| *it < number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_again_and_given_up_in_the_end() {
        let mut queues = KeyQueues::default();
        let first = queues.push(&"a".into(), 1);
        assert_eq!(queues.push(&"a".into(), 2), first);
        let second = queues.push(&"b".into(), 3);
        assert_ne!(first, second);
        queues.remove(first, 1);
        let members: Vec<u64> = queues.get(first).unwrap().members().collect();
        assert_eq!(members, [2]);
        queues.remove(first, 2);
        assert_eq!(queues.push(&"c".into(), 4), first, "it was free");
        queues.remove(first, 4);
        queues.remove(second, 3);
        assert_eq!((queues.len(), queues.queues.len()), (0, 0));
    }
}

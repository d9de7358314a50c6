//! A model of the tracker, written the slow and obvious way.

use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Waiting,
    Out { take: usize },
    Retry { due: Instant },
    Settled,
}

#[derive(Debug)]
struct Entry {
    position: u64,
    key: Option<u8>,
    place: Where,
    failed: u32,
    troubled: bool,
    started: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    entries: Vec<Entry>,
    takes: usize,
}

impl Model {
    pub(super) fn fetched(&mut self, position: u64, key: Option<u8>) {
        self.entries.push(Entry {
            position,
            key,
            place: Where::Waiting,
            failed: 0,
            troubled: false,
            started: false,
        });
    }

    /// Checks a hand-out against every rule and records it; returns the number of the take.
    pub(super) fn taken(&mut self, parts: &[Parts], max: usize, now: Instant) -> usize {
        assert!(parts.len() <= max);
        self.takes += 1;
        for parts in parts {
            let index = self.index(position(parts));
            let (earlier, rest) = self.entries.split_at_mut(index);
            let entry = &mut rest[0];
            match entry.place {
                Where::Waiting => {}
                Where::Retry { due } => assert!(due <= now, "too early"),
                other => panic!("{} is {other:?}", entry.position),
            }
            for other in earlier.iter().filter(|it| is_same_key(it, entry)) {
                assert!(other.started, "first starts out of order");
                let in_this_run = matches!(other.place, Where::Out { take } if take == self.takes);
                assert!(
                    other.place == Where::Settled || in_this_run,
                    "{} overtakes {}",
                    entry.position,
                    other.position
                );
            }
            assert_eq!(parts.attempt, entry.failed + 1);
            entry.started = true;
            entry.place = Where::Out { take: self.takes };
        }
        if parts.len() < max {
            for (index, entry) in self.entries.iter().enumerate() {
                let could_go = match entry.place {
                    Where::Waiting => true,
                    Where::Retry { due } => due <= now,
                    _ => false,
                };
                assert!(!could_go || !self.is_first(index), "{entry:?} is left");
            }
        }
        self.takes
    }

    /// Records the settlement of a delivery of that take; returns whether the tracker should accept
    /// it. `due` is the time of the retry, `None` for an ack.
    pub(super) fn settled(
        &mut self,
        (parts, take): &(Parts, usize),
        due: Option<Instant>,
        fails: bool,
    ) -> bool {
        let index = self.index(position(parts));
        let entry = &mut self.entries[index];
        match entry.place {
            Where::Out { take: last } if last == *take => {}
            _ => return false,
        }
        let Some(due) = due else {
            entry.place = Where::Settled;
            return true;
        };
        entry.place = Where::Retry { due };
        entry.troubled = true;
        entry.failed += u32::from(fails);
        let (earlier, later) = self.entries.split_at_mut(index + 1);
        for other in later
            .iter_mut()
            .filter(|it| is_same_key(it, &earlier[index]))
        {
            if matches!(other.place, Where::Out { .. }) {
                other.place = Where::Waiting;
            }
        }
        true
    }

    pub(super) fn check(&self, tracker: &Tracker) {
        let settled = |entry: &&Entry| entry.place == Where::Settled;
        let prefix = self.entries.iter().take_while(settled).last();
        assert_eq!(ack_floor(tracker), prefix.map(|entry| entry.position));
        let first = self.entries.iter().find(|entry| !settled(entry));
        let attempts = tracker
            .progress()
            .attempts
            .map(|it| (it.position, it.count));
        let expected = first
            .filter(|entry| entry.failed > 0)
            .map(|entry| (Position::new(entry.position), entry.failed));
        assert_eq!(attempts, expected);
        let out = |entry: &&Entry| matches!(entry.place, Where::Out { .. });
        assert_eq!(tracker.in_flight(), self.entries.iter().filter(out).count());
        assert_eq!(self.held() == 0, tracker.bytes() == 0);
        // A parked event may become free at any time.
        assert!(self.held() <= OPTIONS.max_unsettled + OPTIONS.max_parked);
        assert_eq!(tracker.keys.parked(), self.parked());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held() == 0
    }

    /// Returns how many are held and wait behind no failing key.
    pub(super) fn unparked(&self) -> usize {
        self.held() - self.parked()
    }

    fn held(&self) -> usize {
        let held = |entry: &&Entry| entry.place != Where::Settled;
        self.entries.iter().filter(held).count()
    }

    fn parked(&self) -> usize {
        let mut keys: BTreeMap<u8, (usize, usize)> = BTreeMap::new();
        for entry in self.entries.iter().filter(|it| it.place != Where::Settled) {
            if let Some(key) = entry.key {
                let (events, troubled) = keys.entry(key).or_default();
                *events += 1;
                *troubled += usize::from(entry.troubled);
            }
        }
        keys.values()
            .filter(|(_, troubled)| *troubled > 0)
            .map(|(events, troubled)| events - troubled)
            .sum()
    }

    fn is_first(&self, index: usize) -> bool {
        let entry = &self.entries[index];
        !self.entries[..index]
            .iter()
            .any(|other| other.place != Where::Settled && is_same_key(other, entry))
    }

    fn index(&self, position: u64) -> usize {
        let found = self.entries.iter().position(|it| it.position == position);
        found.unwrap()
    }
}

fn is_same_key(one: &Entry, other: &Entry) -> bool {
    one.key.is_some() && one.key == other.key
}

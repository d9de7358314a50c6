use std::collections::{BTreeMap, VecDeque};

use aqueduct_core::{
    Assignment, DeadLetterReason, EventId, Failure, GroupName, PartitionId, Parts, Position,
    SmallStr, StreamName,
};

/// The failures of events in this process, bounded: the oldest records are dropped first.
pub(super) struct Records {
    records: BTreeMap<Place, Record>,
    order: VecDeque<Place>,
    max_records: usize,
    max_failures: usize,
}

/// Identifies an event across its redeliveries. After a reset of the group it is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    group: GroupName,
    replay: u64,
    stream: StreamName,
    partition: Option<PartitionId>,
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Position(Position),
    /// A queue has no positions, and a ticket is valid for one delivery only.
    Event(SmallStr, EventId),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) failures: Vec<Failure>,
    pub(super) decision: Decision,
}

/// The decision about an event.
#[derive(Clone, Debug, Default)]
pub(super) enum Decision {
    #[default]
    Open,
    /// It is to be stored; `tries` writes have failed.
    GivenUp {
        reason: DeadLetterReason,
        message: SmallStr,
        attempts: u32,
        tries: u32,
    },
    /// It is a dead letter whose delivery is not settled yet.
    Stored {
        /// The delivery that was stored: without positions, an event with another ticket may be the
        /// dead letter itself, sent again.
        ticket: u64,
    },
}

impl Decision {
    /// Returns whether the delivery of `parts` is a dead letter already.
    pub(super) fn is_stored(&self, parts: &Parts) -> bool {
        match self {
            Self::Stored { ticket } => parts.position.is_some() || *ticket == parts.ticket,
            _ => false,
        }
    }
}

impl Place {
    pub(super) fn of(assignment: &Assignment, parts: &Parts) -> Self {
        Self {
            group: assignment.group.clone(),
            replay: assignment.replay,
            stream: assignment.stream.clone(),
            partition: assignment.partition.clone(),
            at: match parts.position {
                Some(position) => At::Position(position),
                None => At::Event(parts.event.source_text().clone(), parts.event.id().clone()),
            },
        }
    }
}

impl Records {
    pub(super) fn new(max_records: usize, max_failures: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            order: VecDeque::new(),
            max_records: max_records.max(1),
            max_failures: max_failures.max(1),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Record> {
        self.records.get(place)
    }

    /// Keeps a failure. A second one of the same attempt replaces the first, since a failed
    /// settlement may be retried.
    pub(super) fn failed(&mut self, place: Place, failure: Failure) {
        let max_failures = self.max_failures;
        let failures = &mut self.record(place).failures;
        failures.retain(|known| known.attempt != failure.attempt);
        failures.push(failure);
        if failures.len() > max_failures {
            failures.remove(0);
        }
    }

    pub(super) fn decide(&mut self, place: Place, decision: Decision) {
        self.record(place).decision = decision;
    }

    pub(super) fn forget(&mut self, place: &Place) {
        self.records.remove(place);
        // Forgotten records are removed from the order in bulk, so that each costs little.
        if self.order.len() > 2 * self.records.len() + 16 {
            let records = &self.records;
            self.order.retain(|place| records.contains_key(place));
        }
    }

    fn record(&mut self, place: Place) -> &mut Record {
        if !self.records.contains_key(&place) {
            while self.records.len() >= self.max_records {
                match self.order.pop_front() {
                    Some(oldest) => self.records.remove(&oldest),
                    None => break,
                };
            }
            self.order.push_back(place.clone());
        }
        self.records.entry(place).or_default()
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::{Event, Timestamp};

    use super::*;

    fn place(n: u64) -> Place {
        let assignment = Assignment {
            stream: "orders".into(),
            group: "billing".into(),
            partition: Some("0".into()),
            generation: 1,
            replay: 0,
        };
        let mut parts = Parts::new(Event::new("x"), n);
        parts.position = Some(Position::new(n));
        Place::of(&assignment, &parts)
    }

    fn failure(attempt: u32, error: &str) -> Failure {
        Failure {
            attempt,
            at: Timestamp::EPOCH,
            error: error.into(),
        }
    }

    #[test]
    fn memory_is_bounded_in_events_and_in_failures() {
        let mut records = Records::new(3, 2);
        for n in 0..1000 {
            records.failed(place(n), failure(1, "a"));
            records.failed(place(n), failure(1, "b"));
            records.failed(place(n), failure(2, "c"));
            records.failed(place(n), failure(3, "d"));
            if n % 2 == 0 {
                records.forget(&place(n));
            }
            assert!(records.records.len() <= 3 && records.order.len() <= 32);
        }
        let kept: Vec<u32> = records
            .get(&place(999))
            .unwrap()
            .failures
            .iter()
            .map(|it| it.attempt)
            .collect();
        assert_eq!(kept, [2, 3]);
        assert!(records.get(&place(1)).is_none());
    }

    #[test]
    fn a_settlement_that_is_tried_again_is_one_failure() {
        let mut records = Records::new(3, 5);
        records.failed(place(1), failure(1, "first"));
        records.failed(place(1), failure(1, "again"));
        let failures = &records.get(&place(1)).unwrap().failures;
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].error, "again");
    }
}

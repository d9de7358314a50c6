use std::collections::BTreeMap;

use aqueduct_core::Position;

use super::Findings;
use crate::{HistoryLine, Kind, Phase, Text};

/// The facts about each event, by id, and the order of each key.
#[derive(Default)]
pub(super) struct Events {
    all: BTreeMap<Text, Event>,
    keys: BTreeMap<Text, Key>,
    partitions: BTreeMap<Text, Vec<(Position, Text)>>,
    seen: Seen,
}

/// Which kinds of lines the history has: only what is written can be missed.
#[derive(Default)]
struct Seen {
    stores: bool,
    handlers: bool,
}

#[derive(Default)]
pub(super) struct Event {
    pub(super) key: Option<Text>,
    /// Its place among the stored events of its key.
    pub(super) in_key: usize,
    pub(super) partition: Option<Text>,
    pub(super) position: Option<Position>,
    sent: Sent,
    /// The line of its first occurrence.
    stored_at: Option<usize>,
    pub(super) runs: Runs,
    pub(super) counts: Counts,
    pub(super) effects: u32,
    pub(super) settled: bool,
}

/// The last call that sent an event.
#[derive(Default)]
struct Sent {
    by: Option<Text>,
    /// Number of the call, in the order of the history.
    order: usize,
    /// The line of the call.
    at: usize,
    outcome: Option<Phase>,
}

/// The runs of the handler of one event.
#[derive(Default)]
pub(super) struct Runs {
    /// Processes, with generations, in which it runs.
    pub(super) open: Vec<(Text, Option<u64>)>,
    /// Processes in which it succeeded.
    pub(super) succeeded: Vec<Text>,
    /// When it ended last in each process.
    pub(super) ended: BTreeMap<Text, u64>,
    /// The owner that settled it last.
    pub(super) settled_by: Option<(Text, Option<u64>)>,
    pub(super) begun: bool,
    /// Whether a handler refused it for good.
    pub(super) rejected: bool,
    /// Whether the last one did not succeed.
    pub(super) failed_last: bool,
}

/// Why attempts of an event may count.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) failures: u32,
    /// Processes that its handler killed.
    pub(super) killed: u32,
    /// Processes that were killed, or lost their lease, while it alone ran in them.
    pub(super) excused: u32,
    /// The same, shortly before or after it ran.
    pub(super) near: u32,
}

impl Counts {
    pub(super) fn total(&self) -> u32 {
        self.failures + self.killed + self.excused + self.near
    }
}

#[derive(Default)]
pub(super) struct Key {
    /// Its stored events, in order of their first occurrence.
    stored: Vec<Text>,
    /// All before this one are settled.
    settled: usize,
    /// Calls that sent an event of this key, by sender.
    sent: BTreeMap<Text, Vec<(usize, Text)>>,
    calls: usize,
}

impl Events {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&mut self, id: &Text) -> &mut Event {
        self.all.entry(id.clone()).or_default()
    }

    pub(super) fn find(&self, id: &Text) -> Option<&Event> {
        self.all.get(id)
    }

    pub(super) fn handled(&mut self) {
        self.seen.handlers = true;
    }

    pub(super) fn sent(&mut self, record: &HistoryLine, findings: &mut Findings) {
        let Some(id) = &record.event else { return };
        let event = self.all.entry(id.clone()).or_default();
        event.key.clone_from(&record.key);
        if record.phase == Phase::Invoke {
            event.sent.by = Some(record.process.clone());
            event.sent.at = findings.line;
            event.sent.outcome = None;
            if let Some(key) = &record.key {
                let key = self.keys.entry(key.clone()).or_default();
                key.calls += 1;
                event.sent.order = key.calls;
                let calls = key.sent.entry(record.process.clone()).or_default();
                calls.push((key.calls, id.clone()));
            }
            return;
        }
        event.sent.outcome = Some(record.phase);
        let (at, order, stored) = (event.sent.at, event.sent.order, event.stored_at);
        if record.phase == Phase::Ok {
            return;
        }
        if record.phase == Phase::Fail && stored.is_some_and(|stored| stored >= at) {
            findings.add(
                Kind::Unexpected,
                format!("{id}: stored, and reported as not stored"),
            );
        }
        // The prefix rule: nothing behind an event that is not stored.
        let key = record.key.as_ref().and_then(|key| self.keys.get(key));
        let calls = key.and_then(|key| key.sent.get(&record.process));
        for (_, later) in calls.into_iter().flatten().filter(|it| it.0 > order) {
            let stored_later = self.all.get(later).and_then(|it| it.stored_at);
            if later != id && stored.is_none() && stored_later.is_some_and(|it| it >= at) {
                findings.add(
                    Kind::OutOfOrder,
                    format!("{later}: stored behind {id}, which is not"),
                );
            }
        }
    }

    pub(super) fn stored(&mut self, record: &HistoryLine, findings: &mut Findings) {
        let Some(id) = &record.event else { return };
        self.seen.stores = true;
        let event = self.all.entry(id.clone()).or_default();
        if record.key.is_some() {
            event.key.clone_from(&record.key);
        }
        if event.sent.outcome == Some(Phase::Fail) && findings.line >= event.sent.at {
            findings.add(
                Kind::Unexpected,
                format!("{id}: stored after it was reported as not stored"),
            );
        }
        if let Some((partition, position)) = record.partition.as_ref().zip(record.position) {
            let held = self.partitions.entry(partition.clone()).or_default();
            held.push((position, id.clone()));
            if event.position.is_none() {
                event.position = Some(position);
                event.partition = Some(partition.clone());
            }
        }
        if event.stored_at.is_some() {
            return;
        }
        event.stored_at = Some(findings.line);
        let (by, order) = (event.sent.by.clone(), event.sent.order);
        let Some(key) = event.key.clone() else { return };
        let key = self.keys.entry(key).or_default();
        event.in_key = key.stored.len();
        key.stored.push(id.clone());
        let calls = by.and_then(|by| key.sent.get(&by));
        let later = calls.into_iter().flatten().filter(|it| it.0 > order);
        let later = later.filter(|it| it.1 != *id);
        for (_, later) in later {
            let overtook = self.all.get(later).is_some_and(|it| it.stored_at.is_some());
            if overtook {
                findings.add(
                    Kind::OutOfOrder,
                    format!("{id}: stored behind {later}, which was sent later"),
                );
                break;
            }
        }
    }

    /// Returns the first event of the key before `id` that is not settled; with `exhausted`, one that failed
    /// as often is on its way to the dead letters.
    pub(super) fn unsettled_before(
        &mut self,
        id: &Text,
        exhausted: Option<u32>,
    ) -> Option<(Text, bool)> {
        let event = self.all.get(id)?;
        event.stored_at?;
        let in_key = event.in_key;
        let key = self.keys.get_mut(event.key.as_ref()?)?;
        let is_settled = |id: &Text| {
            self.all.get(id).is_some_and(|it| {
                let dead = exhausted.is_some_and(|most| it.counts.total() >= most);
                it.settled || dead || exhausted.is_some() && it.runs.rejected
            })
        };
        while key.stored.get(key.settled).is_some_and(is_settled) {
            key.settled += 1;
        }
        let first = key
            .stored
            .get(key.settled)
            .filter(|_| key.settled < in_key)?;
        let failed = self.all.get(first).is_some_and(|it| it.runs.failed_last);
        Some((first.clone(), failed))
    }

    /// Returns the events of a partition behind `from`, up to `to`; without `to`, all.
    pub(super) fn between(
        &self,
        partition: &Text,
        from: Option<Position>,
        to: Option<Position>,
    ) -> &[(Position, Text)] {
        let all = self
            .partitions
            .get(partition)
            .map_or(&[][..], Vec::as_slice);
        let first = all.partition_point(|(position, _)| Some(*position) <= from);
        let last = match to {
            Some(to) => all.partition_point(|(position, _)| *position <= to),
            None => all.len(),
        };
        &all[first.min(last)..last]
    }

    pub(super) fn at_the_end(&self, findings: &mut Findings) {
        for (id, event) in &self.all {
            let acknowledged = event.sent.outcome == Some(Phase::Ok);
            let stored = event.stored_at.is_some();
            if acknowledged && self.seen.stores && !stored {
                findings.add(Kind::Lost, format!("{id}: sent, and not stored"));
            } else if self.seen.handlers && (stored || acknowledged) && !event.settled {
                let begun = event.runs.begun;
                let message = format!("{id}: not settled at the end; begun: {begun}");
                findings.add(Kind::Lost, message);
            }
        }
    }
}

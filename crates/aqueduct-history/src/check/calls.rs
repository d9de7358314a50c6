use std::collections::BTreeMap;

use aqueduct_core::Position;

use super::{Checker, Findings};
use crate::{HistoryLine, Kind, Op, Phase, Text};

/// Calls of applications: each one ends, unless its process dies.
#[derive(Default)]
pub(super) struct Calls {
    open: BTreeMap<(Text, Op, Option<Text>), u64>,
    /// The positions that each flush has to make durable.
    flushes: BTreeMap<(Text, Option<Text>), Floors>,
}

/// Up to where partitions are settled without a hole.
type Floors = Vec<(Text, Position)>;

impl Calls {
    pub(super) fn call(&mut self, record: &HistoryLine) {
        let call = (record.process.clone(), record.op, record.event.clone());
        match record.phase {
            Phase::Invoke => drop(self.open.insert(call, record.time)),
            _ => drop(self.open.remove(&call)),
        }
    }

    pub(super) fn sent(&mut self, record: &HistoryLine) {
        self.call(record);
    }

    pub(super) fn dies(&mut self, process: &Text) {
        self.open.retain(|call, _| call.0 != *process);
        self.flushes.retain(|call, _| call.0 != *process);
    }

    pub(super) fn at_the_end(&self, findings: &mut Findings) {
        for ((process, op, event), since) in &self.open {
            let event = event.as_deref().unwrap_or("");
            let since = *since as f64 / 1e6;
            let message = format!("{process}: {op:?} {event} since {since:.3} s");
            findings.add(Kind::NoOutcome, message);
        }
    }
}

impl Checker {
    pub(super) fn flush(&mut self, record: &HistoryLine) {
        self.calls.call(record);
        let call = (record.process.clone(), record.event.clone());
        if record.phase == Phase::Invoke {
            let floors = self.floors(&record.process);
            self.calls.flushes.insert(call, floors);
            return;
        }
        let floors = self.calls.flushes.remove(&call).unwrap_or_default();
        if record.phase != Phase::Ok {
            return;
        }
        for (partition, floor) in floors {
            if !self.owners.covers(&partition, floor) {
                let message = format!("{partition}: flushed, and {floor} is not stored");
                self.findings.add(Kind::NotDurable, message);
            }
        }
    }

    /// Returns up to where each partition of a process is acknowledged to it without a hole.
    fn floors(&self, process: &Text) -> Floors {
        let mut floors = Vec::new();
        for partition in self.owners.of(process) {
            let Some(row) = self.owners.row(partition) else {
                continue;
            };
            let owner = Some((process.clone(), Some(row.generation())));
            let behind = self.events.between(partition, row.checkpoint(), None);
            let done = behind.iter().take_while(|(_, id)| {
                let event = self.events.find(id);
                event.is_some_and(|it| it.runs.settled_by == owner)
            });
            if let Some((position, _)) = done.last() {
                floors.push((partition.clone(), *position));
            }
        }
        floors
    }
}

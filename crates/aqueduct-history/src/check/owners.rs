use std::collections::{BTreeMap, BTreeSet};

use aqueduct_core::Position;

use super::Checker;
use crate::{HistoryLine, Kind, Phase, Text};

/// The owners of partitions: as the store has them, and as they themselves believe.
#[derive(Default)]
pub(super) struct Owners {
    rows: BTreeMap<Text, Row>,
    /// Until when each process believes that it owns a partition.
    beliefs: BTreeMap<Text, BTreeMap<Text, u64>>,
    asked: BTreeSet<(Text, Text)>,
    closed: BTreeMap<Text, Vec<Text>>,
    started: BTreeMap<Text, (Text, u64, u64)>,
}

/// A lease as the store has it.
#[derive(Clone, Default)]
pub(super) struct Row {
    pub(super) owner: Option<Text>,
    generation: u64,
    checkpoint: Option<Position>,
    ended: bool,
    /// When its owner took it.
    pub(super) taken: u64,
    /// When its owner wrote it last.
    pub(super) written: u64,
    by: Text,
}

impl Owners {
    pub(super) fn owns(&mut self, record: &HistoryLine) {
        let Some(partition) = &record.partition else {
            return;
        };
        let owners = self.beliefs.entry(partition.clone()).or_default();
        owners.insert(record.process.clone(), record.until.unwrap_or(u64::MAX));
    }

    /// Notes the generation under which a handler starts; returns the owner and generation before, if no
    /// lease of the partition is written.
    pub(super) fn starts(
        &mut self,
        partition: &Text,
        generation: u64,
        record: &HistoryLine,
    ) -> Option<(Row, u64)> {
        if self.rows.contains_key(partition) {
            return None;
        }
        let latest = self.started.get(partition).cloned();
        if latest.as_ref().is_none_or(|it| it.1 <= generation) {
            let taken = match &latest {
                Some((_, before, taken)) if *before == generation => *taken,
                _ => record.time,
            };
            let now = (record.process.clone(), generation, taken);
            self.started.insert(partition.clone(), now);
        }
        let (owner, before, taken) = latest?;
        let row = Row {
            owner: Some(owner),
            // It may have been taken long before its first handler started.
            taken: taken.saturating_sub(10_000_000),
            ..Row::default()
        };
        Some((row, before))
    }

    pub(super) fn disowns(&mut self, record: &HistoryLine) {
        let owners = record.partition.as_ref();
        if let Some(owners) = owners.and_then(|it| self.beliefs.get_mut(it)) {
            owners.remove(&record.process);
        }
    }

    pub(super) fn asks(&mut self, record: &HistoryLine) {
        if let Some(partition) = &record.partition {
            let ask = (partition.clone(), record.process.clone());
            self.asked.insert(ask);
        }
    }

    pub(super) fn withdraws(&mut self, record: &HistoryLine) {
        if let Some(partition) = &record.partition {
            let ask = (partition.clone(), record.process.clone());
            self.asked.remove(&ask);
        }
    }

    pub(super) fn dies(&mut self, process: &Text) {
        for owners in self.beliefs.values_mut() {
            owners.remove(process);
        }
    }

    /// Returns another process that believes now that it owns the partition.
    pub(super) fn other_owner(&self, record: &HistoryLine) -> Option<&Text> {
        let owners = self.beliefs.get(record.partition.as_ref()?)?;
        let others = owners.iter().filter(|it| *it.0 != record.process);
        others
            .filter(|it| *it.1 > record.time)
            .map(|it| it.0)
            .next()
    }

    /// Returns the partitions that a process believes to own.
    pub(super) fn of<'a>(&'a self, process: &'a Text) -> impl Iterator<Item = &'a Text> {
        let all = self.beliefs.iter();
        all.filter(|it| it.1.contains_key(process)).map(|it| it.0)
    }

    /// Returns whether the store has another owner or generation for the partition of that record.
    pub(super) fn is_fenced(&self, record: &HistoryLine) -> bool {
        let row = record.partition.as_ref().and_then(|it| self.rows.get(it));
        row.is_some_and(|row| {
            row.owner.as_ref() != Some(&record.process) || Some(row.generation) != record.generation
        })
    }

    pub(super) fn row(&self, partition: &Text) -> Option<&Row> {
        self.rows.get(partition)
    }

    pub(super) fn covers(&self, partition: &Text, position: Position) -> bool {
        let row = self.rows.get(partition);
        row.is_some_and(|row| row.ended || row.checkpoint >= Some(position))
    }
}

impl Row {
    pub(super) fn checkpoint(&self) -> Option<Position> {
        self.checkpoint
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl Checker {
    /// Judges a write of a lease that the store accepted.
    pub(super) fn lease(&mut self, record: &HistoryLine) {
        let Some(partition) = record
            .partition
            .clone()
            .filter(|_| record.phase == Phase::Ok)
        else {
            return;
        };
        let before = self
            .owners
            .rows
            .get(&partition)
            .cloned()
            .unwrap_or_default();
        let after = Row {
            owner: record.owner.clone(),
            generation: record.generation.unwrap_or(before.generation),
            checkpoint: record.position,
            ended: record.ended,
            taken: match record.owner == before.owner {
                true => before.taken,
                false => record.time,
            },
            written: record.time,
            by: record.process.clone(),
        };
        self.changes_hands(&partition, &before, &after);
        self.moves_on(&partition, &before, &after);
        let taken = before.owner.is_some() && before.owner.as_ref() != Some(&after.by);
        if taken {
            self.taken_over(&partition, &before);
        }
        let kept = self.owners.closed.get(&after.by);
        if after.owner.as_ref() == Some(&after.by)
            && kept.is_some_and(|it| !it.contains(&partition))
        {
            let message = format!(
                "{partition} is written as owned by {}, which left",
                after.by
            );
            self.findings.add(Kind::GivenToNobody, message);
        }
        self.owners.rows.insert(partition, after);
    }

    fn changes_hands(&mut self, partition: &Text, before: &Row, after: &Row) {
        let (old, new) = (before.generation, after.generation);
        let passes = after.owner.is_some() && after.owner != before.owner;
        if new < old || passes && new <= old {
            let message = format!(
                "{partition}: generation {old} of {:?}, then {new} of {:?}",
                before.owner, after.owner
            );
            self.findings.add(Kind::TwoOwners, message);
        }
        if let Some(to) = after.owner.as_ref().filter(|to| **to != after.by) {
            let ask = (partition.clone(), to.clone());
            let asked = self.owners.asked.remove(&ask);
            if !asked || before.owner.as_ref() != Some(&after.by) {
                let message = format!("{} gives {partition} to {to}, which does not ask", after.by);
                self.findings.add(Kind::GivenToNobody, message);
            }
        }
    }

    fn moves_on(&mut self, partition: &Text, before: &Row, after: &Row) {
        let fell = before.ended || after.checkpoint < before.checkpoint;
        if fell && !after.ended {
            let (from, to) = (before.checkpoint, after.checkpoint);
            let message = format!("{partition}: from {from:?} to {to:?}");
            self.findings.add(Kind::CheckpointFell, message);
            return;
        }
        if before.ended {
            return;
        }
        let to = after.checkpoint.filter(|_| !after.ended);
        if to.is_none() && !after.ended {
            return;
        }
        for (_, id) in self.events.between(partition, before.checkpoint, to) {
            let Some(event) = self.events.find(id).filter(|it| !it.settled) else {
                continue;
            };
            let (kind, what) = match event.runs.failed_last {
                true => (Kind::SkippedPastFailure, "failed"),
                false => (Kind::Lost, "is not settled"),
            };
            let message = format!("{partition}: the checkpoint passes {id}, which {what}");
            self.findings.add(kind, message);
        }
    }

    pub(super) fn close(&mut self, record: &HistoryLine) {
        self.calls.call(record);
        if record.phase != Phase::Ok {
            return;
        }
        for (partition, row) in &self.owners.rows {
            let owns = row.owner.as_ref() == Some(&record.process);
            // One that another member gave to it meanwhile is not accepted: it is taken on expiry.
            if owns && row.by == record.process && !record.kept.contains(partition) {
                let message = format!("{partition} is kept by {}, which left", record.process);
                self.findings.add(Kind::GivenToNobody, message);
            }
        }
        let kept = record.kept.clone();
        self.owners.closed.insert(record.process.clone(), kept);
        self.owners.dies(&record.process);
    }
}

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aqueduct_core::{PartitionId, Settlement};
use aqueduct_history::{Op, Phase};

use super::process::Chain;
use super::schedule::Action;
use super::world::World;
use crate::member::Input;

/// The handlers of the simulated processes.
impl World {
    /// Hands out deliverable events, and starts handlers.
    pub(super) fn deliver(&mut self, at: usize) -> Result<(), String> {
        let slots = self.processes[at].slots.iter();
        let mut ids: Vec<_> = slots
            .map(|(id, slot)| (!slot.tracker.is_unclaimed(), id.clone()))
            .collect();
        ids.sort();
        for (_, id) in ids {
            let process = &mut self.processes[at];
            let now = process.clock.local(self.now);
            if !process.alive || process.leaving {
                return Ok(());
            }
            let room = self
                .scenario
                .concurrency
                .saturating_sub(process.chains.len());
            let held = process.held;
            let Some(slot) = process.slots.get_mut(&id) else {
                continue;
            };
            if held && !slot.tracker.is_alone() {
                continue;
            }
            if room == 0 || slot.stopping.is_some() || now >= slot.until {
                continue;
            }
            let generation = slot.generation;
            let mut parts = Vec::new();
            slot.tracker.take(room, now, |it| parts.push(it));
            let due = slot.tracker.next_due().filter(|due| *due > now);
            if let Some(due) = due
                && slot.due_at.is_none_or(|planned| planned > due)
            {
                slot.due_at = Some(due);
                let due = process.clock.global(due);
                self.at(due, Action::Due(at, id.clone(), generation));
            }
            if parts.is_empty() {
                continue;
            }
            let mut runs: BTreeMap<Option<aqueduct_core::SmallStr>, VecDeque<_>> = BTreeMap::new();
            let mut chains = Vec::new();
            for part in parts {
                match part.event.key_text().cloned() {
                    None => chains.push(VecDeque::from([part])),
                    key => runs.entry(key).or_default().push_back(part),
                }
            }
            chains.extend(runs.into_values());
            for parts in chains {
                self.ids.chains += 1;
                let chain = Chain {
                    partition: id.clone(),
                    generation,
                    parts,
                };
                self.processes[at].chains.insert(self.ids.chains, chain);
                self.start(at, self.ids.chains)?;
            }
        }
        Ok(())
    }

    /// Starts the handler of the first delivery of a chain that may still be settled.
    pub(super) fn start(&mut self, at: usize, chain: u64) -> Result<(), String> {
        loop {
            let process = &mut self.processes[at];
            let Some(it) = process.chains.get_mut(&chain) else {
                return Ok(());
            };
            let (id, generation) = (it.partition.clone(), it.generation);
            let Some(parts) = it.parts.front().cloned() else {
                process.chains.remove(&chain);
                return Ok(());
            };
            let now = process.clock.local(self.now);
            let slot = process.slot(&id, generation);
            // A process that stood still is not told yet that its lease is over.
            let held = slot.filter(|slot| now < slot.until);
            let tracker = held.map(|slot| &mut slot.tracker);
            let open = tracker.filter(|it| it.revocation(parts.ticket).is_none());
            let Some(tracker) = open else {
                self.pop(at, chain);
                continue;
            };
            let event = self.log.event_at(&id, parts.position.unwrap());
            if parts.attempt > self.scenario.attempts {
                let settled = tracker.settle(&parts, &Settlement::Ack, now, || 0);
                settled.map_err(|why| format!("{why}"))?;
                self.dead_letter(at, &id, generation, event);
                self.pop(at, chain);
                continue;
            }
            self.seen.starts += 1;
            let line = self.of_event(at, Op::Handle, Phase::Invoke, event);
            let line = line.partition(id.as_str()).generation(generation);
            self.history.add(line.attempt(parts.attempt));
            let lasts = match self.rng.below(30) {
                0 => self.rng.below(40_000),
                _ => 1 + self.rng.below(1_500),
            };
            self.after(
                Duration::from_millis(lasts as u64),
                Action::Finish(at, chain),
            );
            return Ok(());
        }
    }

    pub(super) fn pop(&mut self, at: usize, chain: u64) {
        if let Some(chain) = self.processes[at].chains.get_mut(&chain) {
            chain.parts.pop_front();
        }
    }

    pub(super) fn finish(&mut self, at: usize, chain: u64) -> Result<(), String> {
        let Some(it) = self.processes[at].chains.get_mut(&chain) else {
            return Ok(());
        };
        let (id, generation) = (it.partition.clone(), it.generation);
        let Some(parts) = it.parts.front().cloned() else {
            return Ok(());
        };
        let event = self.log.event_at(&id, parts.position.unwrap());
        if self.log.events[event].poison {
            self.seen.kills += 1;
            self.crash(at, Some(event));
            return Ok(());
        }
        self.pop(at, chain);
        let fails = self.rng.below(1000) < self.scenario.nacks;
        let (kind, random) = (self.rng.below(6), self.rng.next_u64());
        let delay = Duration::from_millis(random % 3_000);
        let (settlement, ended) = match (fails, kind) {
            (false, _) => (Some(Settlement::Ack), Phase::Ok),
            (true, 0) => (Some(Settlement::Defer { delay }), Phase::Unknown),
            (true, 1) => (None, Phase::Fail),
            (true, kind) => {
                let delay = (kind > 3).then_some(delay);
                (Some(Settlement::Nack { delay, error: None }), Phase::Fail)
            }
        };
        self.seen.nacks += u64::from(ended == Phase::Fail);
        let line = self.of_event(at, Op::Handle, ended, event);
        self.history
            .add(line.partition(id.as_str()).generation(generation));
        let now = self.processes[at].clock.local(self.now);
        if let Some(slot) = self.processes[at].slot(&id, generation) {
            let tracker = &mut slot.tracker;
            let answer = match &settlement {
                Some(settlement) => tracker.settle(&parts, settlement, now, || random),
                None => Ok(tracker.abandon(&parts, now, || random)),
            };
            if answer.is_ok() && !fails {
                self.settled(at, &id, generation, event, Op::Ack);
            }
        }
        self.start(at, chain)?;
        self.handle(at, Input::Tick)
    }

    fn settled(&mut self, at: usize, id: &PartitionId, generation: u64, event: usize, op: Op) {
        self.settled.insert(event);
        let line = self.of_event(at, op, Phase::Ok, event);
        self.history
            .add(line.partition(id.as_str()).generation(generation));
    }

    fn dead_letter(&mut self, at: usize, id: &PartitionId, generation: u64, event: usize) {
        let line = self.of_event(at, Op::DeadLetter, Phase::Ok, event);
        self.history.add(line);
        self.settled(at, id, generation, event, Op::Reject);
        if self.dead.insert(event) {
            self.seen.dead_letters += 1;
            self.seen.poison_letters += u64::from(self.log.events[event].poison);
        }
    }
}

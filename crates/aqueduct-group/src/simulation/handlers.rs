use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aqueduct_core::{Revocation, Settlement};

use super::process::Chain;
use super::schedule::Action;
use super::world::World;
use crate::member::Input;

/// The handlers of the simulated processes.
impl World {
    /// Hands out deliverable events, and starts handlers.
    pub(super) fn deliver(&mut self, at: usize) -> Result<(), String> {
        let slots = self.processes[at].slots.iter();
        self.check
            .one_alone(slots.clone().filter(|(_, slot)| slot.tracker.is_alone()))?;
        let mut ids: Vec<_> = slots
            .map(|(id, slot)| (!slot.tracker.is_unclaimed(), id.clone()))
            .collect();
        ids.sort();
        for (_, id) in ids {
            let now = self.now;
            let process = &mut self.processes[at];
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
                self.at(due, Action::Due(at, id.clone(), generation));
            }
            if parts.is_empty() {
                continue;
            }
            let owner = self.processes[at].owner.clone();
            let others = self.processes.iter().filter(|process| process.alive);
            let others = others.filter(|process| {
                let slot = process.slots.get(&id);
                slot.is_some_and(|slot| {
                    now < slot.until
                        && slot
                            .tracker
                            .revocation(0)
                            .is_none_or(|why| why == Revocation::Superseded)
                })
            });
            let others = others.map(|process| process.owner.clone());
            self.check.owned_once(&id, &owner, others)?;
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
            let owner = process.owner.clone();
            let slot = process.slot(&id, generation);
            let tracker = slot.map(|slot| &mut slot.tracker);
            let open = tracker.is_some_and(|it| it.revocation(parts.ticket).is_none());
            if !open {
                self.pop(at, chain);
                continue;
            }
            let event = self.log.event_at(&id, parts.position.unwrap());
            let row = self.store.rows.get(&id);
            let fenced = row.is_none_or(|row| {
                row.generation != generation || row.owner.as_ref() != Some(&owner)
            });
            self.check
                .starts(&self.log, event, parts.attempt, fenced)
                .map_err(|why| format!("{id}, {owner}, generation {generation}: {why}"))?;
            let process = &self.processes[at];
            let alone = process.slots.values().any(|slot| slot.tracker.is_alone());
            if alone && process.chains.len() > 1 {
                return Err(format!(
                    "{owner}: event {event} runs beside one that runs alone"
                ));
            }
            let Some(slot) = self.processes[at].slot(&id, generation) else {
                return Ok(());
            };
            let tracker = &mut slot.tracker;
            if parts.attempt > self.scenario.attempts {
                let settled = tracker.settle(&parts, &Settlement::Ack, self.now, || 0);
                settled.map_err(|why| format!("{why}"))?;
                self.check
                    .dead_letter(&self.log, event, self.scenario.attempts)?;
                self.check.settled(event);
                self.pop(at, chain);
                continue;
            }
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
        let now = self.now;
        let Some(it) = self.processes[at].chains.get_mut(&chain) else {
            return Ok(());
        };
        let (id, generation) = (it.partition.clone(), it.generation);
        let Some(parts) = it.parts.front().cloned() else {
            return Ok(());
        };
        let event = self.log.event_at(&id, parts.position.unwrap());
        if self.log.events[event].poison {
            self.check.seen.kills += 1;
            self.crash(at);
            return Ok(());
        }
        self.pop(at, chain);
        let fails = self.rng.below(1000) < self.scenario.nacks;
        let (kind, random) = (self.rng.below(6), self.rng.next_u64());
        if let Some(slot) = self.processes[at].slot(&id, generation) {
            let tracker = &mut slot.tracker;
            let delay = Duration::from_millis(random % 3_000);
            let (settlement, counts) = match (fails, kind) {
                (false, _) => (Some(Settlement::Ack), false),
                (true, 0) => (Some(Settlement::Defer { delay }), false),
                (true, 1) => (None, true),
                (true, kind) => {
                    let delay = (kind > 3).then_some(delay);
                    (Some(Settlement::Nack { delay, error: None }), true)
                }
            };
            let open = tracker.revocation(parts.ticket).is_none();
            let answer = match &settlement {
                Some(settlement) => tracker.settle(&parts, settlement, now, || random),
                None => Ok(tracker.abandon(&parts, now, || random)),
            };
            if open && counts {
                self.check.seen.nacks += 1;
                self.check.nacked(event);
            }
            if answer.is_ok() && !fails {
                self.check.settled(event);
            }
        }
        self.start(at, chain)?;
        self.handle(at, Input::Tick)
    }
}

use std::time::Duration;

use aqueduct_core::{Lease, PartitionId, StoredAttempts};

use super::course::settled_to;
use super::process::Process;
use super::schedule::Action;
use super::world::World;
use crate::member::Input;

/// Processes that die, leave or flush.
impl World {
    pub(super) fn crash(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.alive = false;
        // The event that ran in it, if only one did; a handler whose lease was lost also counts.
        let running = match process.chains.values().collect::<Vec<_>>()[..] {
            [chain] => chain.parts.front().and_then(|parts| {
                let event = self.log.event_at(&chain.partition, parts.position?);
                Some((chain.partition.clone(), event))
            }),
            _ => None,
        };
        process.died_of = running.clone();
        if let Some((_, event)) = running {
            self.check.died(event);
        }
        process.slots.clear();
        process.chains.clear();
        if self.scenario.knows_dead {
            self.trouble.dead.insert(process.owner.clone());
        }
        let back = match self.trouble.storming {
            true => Duration::from_millis(self.rng.below(50) as u64),
            false => self.seconds(1, 15),
        };
        self.after(back, Action::Restart);
    }

    /// Notes that a lease was taken from an owner that did not release it. A mark in it is right if
    /// only its event ran in the process that died.
    pub(super) fn taken_over(&mut self, before: &Lease) {
        self.check.seen.unclean += 1;
        let counts = |attempts: &StoredAttempts| attempts.started && attempts.count > 0;
        let Some(mark) = before.attempts.filter(counts) else {
            return;
        };
        let event = self.log.event_at(&before.partition, mark.position);
        let owner = |process: &&Process| before.owner.as_ref() == Some(&process.owner);
        let died_of = self.processes.iter().find(owner);
        let died_of = died_of.and_then(|process| process.died_of.as_ref());
        if died_of != Some(&(before.partition.clone(), event)) {
            self.check.nearly_ran(event);
        }
    }

    /// Kills all live processes again and again, faster than any can make progress.
    pub(super) fn storm(&mut self, left: usize) {
        self.trouble.storming = left > 0;
        if left == 0 {
            return;
        }
        for at in 0..self.processes.len() {
            if self.processes[at].alive {
                self.check.seen.storms += 1;
                self.crash(at);
            }
        }
        let next = Duration::from_millis(80 + self.rng.below(900) as u64);
        self.after(next, Action::Storm(left - 1));
    }

    /// Lets that member, or any, leave as long as another one stays.
    pub(super) fn leave(&mut self, at: Option<usize>) -> Result<(), String> {
        let staying: Vec<_> = (0..self.processes.len())
            .filter(|at| self.processes[*at].alive && !self.processes[*at].leaving)
            .collect();
        if staying.len() < 2 {
            return Ok(());
        }
        let at = match at {
            None => staying[self.rng.below(staying.len())],
            Some(at) if staying.contains(&at) => at,
            Some(_) => return Ok(()),
        };
        self.check.seen.leaves += 1;
        self.processes[at].leaving = true;
        self.handle(at, Input::Close)
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        for at in 0..self.processes.len() {
            let process = &mut self.processes[at];
            if !process.alive || process.leaving || process.stalled_until > self.now {
                continue;
            }
            self.ids.flushes += 1;
            let id = self.ids.flushes;
            let open = process.slots.iter();
            let settled = open
                .map(|(id, slot)| (id.clone(), settled_to(slot.tracker.progress().ack_floor)))
                .filter(|(_, settled)| *settled < usize::MAX)
                .collect();
            process.flushes.insert(id, settled);
            self.handle(at, Input::Flush(id))?;
        }
        Ok(())
    }

    /// Checks that a member that left owns only the leases it reported as kept, now and later.
    pub(super) fn no_departed_member_owns(&self, only: Option<&PartitionId>) -> Result<(), String> {
        let rows = self.store.rows.values();
        let rows = rows.filter(|row| !self.trouble.given.contains(&row.partition));
        for row in rows.filter(|row| only.is_none_or(|only| row.partition == *only)) {
            let owner = |it: &&Process| row.owner.as_ref() == Some(&it.owner);
            let kept = self
                .processes
                .iter()
                .find(owner)
                .and_then(|it| it.left.as_ref());
            if kept.is_some_and(|kept| !kept.contains(&row.partition)) {
                return Err(format!("its owner left and did not give it up: {row:?}"));
            }
        }
        Ok(())
    }
}

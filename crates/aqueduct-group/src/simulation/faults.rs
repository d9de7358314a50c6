use std::time::Duration;

use aqueduct_history::{Op, Phase};

use super::facts::name_of;
use super::schedule::Action;
use super::world::World;
use crate::member::Input;

/// Processes that die, leave or flush.
impl World {
    /// The process dies: by the handler of that event, or from outside.
    pub(super) fn crash(&mut self, at: usize, by: Option<usize>) {
        let mut line = self.line(self.processes[at].owner.as_str(), Op::Kill, Phase::Ok);
        line.event = by.map(name_of);
        self.history.add(line);
        let process = &mut self.processes[at];
        process.alive = false;
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

    /// Kills all live processes again and again, faster than any can make progress.
    pub(super) fn storm(&mut self, left: usize) {
        self.trouble.storming = left > 0;
        if left == 0 {
            return;
        }
        for at in 0..self.processes.len() {
            if self.processes[at].alive {
                self.seen.storms += 1;
                self.crash(at, None);
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
        self.seen.leaves += 1;
        let line = self.line(self.processes[at].owner.as_str(), Op::Close, Phase::Invoke);
        self.history.add(line);
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
            process.flushes.insert(id);
            let line = self.line(self.processes[at].owner.as_str(), Op::Flush, Phase::Invoke);
            self.history.add(line.event(format!("flush-{id}")));
            self.handle(at, Input::Flush(id))?;
        }
        Ok(())
    }
}

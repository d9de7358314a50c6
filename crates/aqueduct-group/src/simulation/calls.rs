use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Swap};

use super::schedule::{Action, Answer};
use super::world::World;
use crate::member::{Command, Input, Listing};

/// The time after which a caller stops waiting.
const CALL_LIMIT: Duration = Duration::from_millis(7_500);

impl World {
    /// Sends a call to the store and injects faults on the way.
    pub(super) fn send(&mut self, at: usize, command: Command) {
        let scenario = &self.scenario;
        let trouble = self.in_trouble();
        let mut draw = |odds: usize| trouble && self.rng.below(1000) < odds;
        let refused = draw(scenario.refused_calls);
        let lost = draw(scenario.lost_responses);
        let slow = draw(scenario.slow_calls);
        let late = draw(scenario.late_responses);
        let mut delay = Duration::from_millis(2 + self.rng.below(40) as u64);
        if slow {
            delay = Duration::from_millis(self.rng.below(20_000) as u64);
        }
        let cut = self.processes[at].cut_until > self.now;
        self.seen.late += u64::from(late);
        let unreachable = refused || cut || self.trouble.outage;
        self.seen.troubled += u64::from(unreachable || lost || slow || late);
        if unreachable {
            let unknown = self.rng.below(2) == 0;
            let input = failed(&command, unknown);
            self.after(delay.min(CALL_LIMIT), Action::Answer(at, input));
            return;
        }
        let answer = if lost || delay >= CALL_LIMIT {
            let input = failed(&command, true);
            self.after(CALL_LIMIT, Action::Answer(at, input));
            Answer::Lost
        } else {
            Answer::Comes {
                by: match late {
                    true => self.now + CALL_LIMIT,
                    false => self.now,
                },
            }
        };
        // Some of the lost responses are lost calls.
        if answer != Answer::Lost || self.rng.below(3) > 0 {
            self.after(delay, Action::Store(at, command, answer));
        }
    }

    pub(super) fn store_call(
        &mut self,
        at: usize,
        command: Command,
        answer: Answer,
    ) -> Result<(), String> {
        let store = &mut self.store;
        let input = match command {
            Command::List(_) => {
                store.lists += 1;
                Input::Listed(Ok(Listing {
                    partitions: self.log.listing(),
                    leases: store.rows.values().cloned().collect(),
                }))
            }
            Command::Group => Input::Group(Ok(None)),
            Command::Create(lease) => {
                Input::Created(lease.partition.clone(), Ok(store.create(lease)))
            }
            Command::Write {
                op, current, next, ..
            } => {
                let id = current.partition.clone();
                let before = store.rows.get(&id).cloned();
                let swap = store.swap(&current, &next);
                if let (Some(before), Swap::Swapped(after)) = (before, &swap) {
                    self.lease_written(at, &before, after)?;
                }
                Input::Written(id, op, Ok(swap))
            }
            Command::Read(id, op) => {
                let row = store.rows.get(&id).cloned();
                Input::Read(id, op, Ok(row))
            }
            Command::Request(lease) => {
                let by = self.processes[at].owner.clone();
                let before = store.rows.get(&lease.partition).cloned();
                let row = store.request(&lease, &by);
                if let Some((before, after)) = before.zip(row.as_ref()) {
                    self.asked(&before, after);
                }
                Input::Requested(lease.partition, Ok(row))
            }
            Command::Withdraw(lease, op) => {
                let by = self.processes[at].owner.clone();
                let before = store.rows.get(&lease.partition).cloned();
                let row = store.withdraw(&lease, &by);
                if let Some((before, after)) = before.zip(row.as_ref()) {
                    self.seen.withdrawn += u64::from(before.wanted_by != after.wanted_by);
                    self.asked(&before, after);
                }
                Input::Read(lease.partition, op, Ok(row))
            }
            Command::Delete(lease) => {
                self.seen.deleted += 1;
                Input::Deleted(lease.partition.clone(), Ok(store.delete(&lease)))
            }
            other => return Err(format!("{other:?} is not a call")),
        };
        if let Answer::Comes { by } = answer {
            let mut delay = Duration::from_millis(1 + self.rng.below(20) as u64);
            let most = by.since(self.now).as_millis() as usize;
            delay += Duration::from_millis(self.rng.below(most.max(1)) as u64);
            self.after(delay, Action::Answer(at, input));
        }
        Ok(())
    }
}

/// Returns the input for a failed call.
fn failed(command: &Command, unknown: bool) -> Input {
    let mut error = Error::new(ErrorKind::Unavailable, "simulated");
    if unknown {
        error = error.with_effect(Effect::Unknown);
    }
    match command {
        Command::List(_) => Input::Listed(Err(error)),
        Command::Group => Input::Group(Err(error)),
        Command::Create(lease) => Input::Created(lease.partition.clone(), Err(error)),
        Command::Write { op, current, .. } => {
            Input::Written(current.partition.clone(), *op, Err(error))
        }
        Command::Read(id, op) => Input::Read(id.clone(), *op, Err(error)),
        Command::Withdraw(lease, op) => Input::Read(lease.partition.clone(), *op, Err(error)),
        Command::Request(lease) => Input::Requested(lease.partition.clone(), Err(error)),
        Command::Delete(lease) => Input::Deleted(lease.partition.clone(), Err(error)),
        _ => Input::Tick,
    }
}

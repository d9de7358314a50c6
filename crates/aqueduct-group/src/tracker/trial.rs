use aqueduct_core::{Instant, Position, StoredAttempts};

use super::guard::{Suspects, Trial};
use super::machine::Tracker;
use super::slots::{Slot, State};

/// A suspect that failed more often holds no other back: where exhausted events block their key it would do
/// so for ever.
const WAITED_FOR: u32 = 32;

/// A batch is that part of the suspects, so that a range is narrowed in few lives and run through
/// in few writes; as few suspects run one by one.
const PART: usize = 8;

impl Tracker {
    /// Chooses the next event to run alone, or the next batch of suspects. Returns whether a commit
    /// of [`progress`](Self::progress), which marks them as started, must be durable before `take`
    /// hands them out. Ask only while a receiver waits: after a crash the mark of one counts.
    #[cfg(test)]
    pub(crate) fn mark_needed(&mut self, now: Instant) -> bool {
        let alone = self.needs_alone(now);
        self.mark(now, alone)
    }

    /// Returns whether the next event should run alone in the process; `false` for a batch, or if
    /// there is nothing to choose.
    pub(crate) fn needs_alone(&mut self, now: Instant) -> bool {
        if !self.may_need_mark() {
            return false;
        }
        self.wake_due(now);
        let Some(at) = self.next_suspect() else {
            return false;
        };
        let slot = self.slots.at(at);
        // What failed before is tried by itself: in a batch a death would not count against it.
        self.guard.is_isolated(slot.position) && (slot.troubled || self.suspects() <= PART)
    }

    /// Chooses the next event or batch; `alone` says whether a single one counts attempts.
    pub(crate) fn mark(&mut self, now: Instant, alone: bool) -> bool {
        if self.waits_for_mark() {
            return true;
        }
        if !self.may_need_mark() {
            return false;
        }
        // A batch ends here, once it is settled.
        self.guard.trial = None;
        self.wake_due(now);
        let Some(at) = self.next_suspect() else {
            return false;
        };
        let slot = self.slots.at(at);
        let (position, failed) = (slot.position, slot.failed);
        if !self.guard.is_isolated(position) {
            return false;
        }
        let (suspects, position, count) = if alone {
            if self.ready.freed.pop_front().is_none() {
                self.ready.cursor += 1;
            }
            (Suspects::One(at), position, failed.saturating_add(1))
        } else {
            let up_to = self.end_of_batch().max(position);
            (Suspects::UpTo(up_to), up_to, 0)
        };
        self.guard.trial = Some(Trial {
            suspects,
            mark: StoredAttempts {
                position,
                count,
                started: true,
            },
            durable: false,
        });
        true
    }

    /// Withdraws the choice of an event that was not handed out; the next commit stores that.
    pub(crate) fn withdraw(&mut self) {
        if let Some(at) = self.guard.alone()
            && self.slots.at(at).state == State::Waiting
        {
            self.guard.trial = None;
            self.ready.freed.push_front(at);
        }
    }

    /// Lets other partitions run beside the event that runs alone: its mark counts no longer.
    pub(crate) fn keep_company(&mut self) {
        if self.guard.alone().is_some()
            && let Some(trial) = &mut self.guard.trial
        {
            trial.suspects = Suspects::UpTo(trial.mark.position);
            trial.mark.count = 0;
            trial.durable = false;
        }
    }

    /// Returns whether [`mark`](Self::mark) should be asked, once a receiver waits.
    pub(crate) fn may_need_mark(&mut self) -> bool {
        if self.guard.isolated_until.is_none() || self.load.in_flight > 0 {
            return false;
        }
        match self.guard.trial {
            None => true,
            Some(trial) if !trial.durable => false,
            Some(trial) => match trial.suspects {
                Suspects::One(_) => false,
                Suspects::UpTo(_) => {
                    let next = self.peek().map(|at| self.slots.at(at));
                    next.is_none_or(|it| !self.guard.lets_out(it.position, it.troubled))
                }
            },
        }
    }

    /// Returns whether an event was chosen to run alone and is not settled.
    pub(crate) fn is_alone(&self) -> bool {
        self.guard.alone().is_some()
    }

    /// Returns whether a commit of the progress must be durable before the chosen events are
    /// handed out.
    pub(crate) fn waits_for_mark(&self) -> bool {
        self.guard.trial.is_some_and(|trial| !trial.durable)
    }

    /// Returns whether the event that runs alone is durably marked and not handed out.
    pub(crate) fn is_unclaimed(&self) -> bool {
        let waits = |at: u32| self.slots.at(at).state == State::Waiting;
        !self.waits_for_mark() && self.guard.alone().is_some_and(waits)
    }

    /// Returns the event to try next. After a death in isolation mode suspects are tried strictly in order, past
    /// none that waits for its retry: a lease stores the attempts of one event, so that those of an event before
    /// the one that kills would be replaced in each life, and the checkpoint would never pass it.
    fn next_suspect(&mut self) -> Option<u32> {
        let at = self.peek()?;
        if !self.guard.in_order {
            return Some(at);
        }
        let sequence = self.slots.at(at).sequence;
        let mut suspects = self.line.unsettled().map(|at| self.slots.at(at));
        let waits = |slot: &Slot| {
            let retries = slot.state == State::Retry && slot.failed <= WAITED_FOR;
            retries && slot.sequence < sequence && self.guard.is_isolated(slot.position)
        };
        (!suspects.any(waits)).then_some(at)
    }

    /// Counts the suspects that wait and have not failed yet.
    fn suspects(&self) -> usize {
        self.waiting_suspects().count()
    }

    fn end_of_batch(&self) -> Position {
        let last = self.suspects().div_ceil(PART).saturating_sub(1);
        let last = self.waiting_suspects().nth(last);
        last.unwrap_or(Position::MIN)
    }

    fn waiting_suspects(&self) -> impl Iterator<Item = Position> {
        self.line
            .unsettled()
            .map(|at| self.slots.at(at))
            .take_while(|slot| self.guard.is_isolated(slot.position))
            .filter(|slot| slot.state == State::Waiting && !slot.troubled)
            .map(|slot| slot.position)
    }
}

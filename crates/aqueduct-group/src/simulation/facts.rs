use aqueduct_core::{Checkpoint, Lease, PartitionId};
use aqueduct_history::{HistoryLine, Op, Phase, Text};

use super::log::token_of;
use super::world::World;

/// The lines of the history. They say what processes, handlers, log and store did; nothing is read off the
/// state of the code under test.
impl World {
    pub(super) fn line(&self, process: impl Into<Text>, op: Op, phase: Phase) -> HistoryLine {
        HistoryLine::new(
            self.now.elapsed_since_origin().as_micros() as u64,
            process,
            op,
            phase,
        )
    }

    /// A line about an event in a process.
    pub(super) fn of_event(&self, at: usize, op: Op, phase: Phase, event: usize) -> HistoryLine {
        let process = self.processes[at].owner.as_str();
        self.line(process, op, phase).event(name_of(event))
    }

    pub(super) fn owns(
        &mut self,
        at: usize,
        partition: &PartitionId,
        until: aqueduct_core::Instant,
    ) {
        let until = self.processes[at].clock.global(until);
        let mut line = self.line(self.processes[at].owner.as_str(), Op::Own, Phase::Ok);
        line.until = Some(until.elapsed_since_origin().as_micros() as u64);
        self.history.add(line.partition(partition.as_str()));
    }

    pub(super) fn disowns(&mut self, at: usize, partition: &PartitionId) {
        let line = self.line(self.processes[at].owner.as_str(), Op::Disown, Phase::Ok);
        self.history.add(line.partition(partition.as_str()));
    }

    /// Notes that a write of a lease succeeded; refuses what no log and no store would take.
    pub(super) fn lease_written(
        &mut self,
        at: usize,
        before: &Lease,
        after: &Lease,
    ) -> Result<(), String> {
        let id = &after.partition;
        let token = match after.checkpoint {
            Checkpoint::At(position) => Some(token_of(id, position)),
            Checkpoint::Start(_) | Checkpoint::End => None,
        };
        if after.resume_token != token {
            let (at, stored) = (after.checkpoint, &after.resume_token);
            return Err(format!(
                "{id}: the checkpoint {at} is stored with {stored:?}"
            ));
        }
        if after.checkpoint == Checkpoint::End && !self.log.partitions[id].closed {
            return Err(format!("{id}: it is open and settled to its end"));
        }
        let writer = self.processes[at].owner.clone();
        let mut line = self
            .line(writer.as_str(), Op::Lease, Phase::Ok)
            .partition(id.as_str());
        line = line.generation(after.generation);
        line.owner = after.owner.as_ref().map(|owner| owner.as_str().into());
        line.ended = after.checkpoint == Checkpoint::End;
        if let Checkpoint::At(position) = after.checkpoint {
            line.position = Some(position);
        }
        self.history.add(line);
        self.asked(before, after);
        let taken = before.owner.as_ref().is_some_and(|owner| *owner != writer);
        self.seen.unclean += u64::from(taken);
        self.seen.handoffs +=
            u64::from(before.wanted_by.is_some() && after.owner == before.wanted_by);
        self.seen.ended +=
            u64::from(before.checkpoint != after.checkpoint && after.checkpoint == Checkpoint::End);
        Ok(())
    }

    /// Notes that a request for a hand-off came, or was taken back.
    pub(super) fn asked(&mut self, before: &Lease, after: &Lease) {
        if before.wanted_by == after.wanted_by {
            return;
        }
        for (row, op) in [(before, Op::Withdraw), (after, Op::Ask)] {
            if let Some(by) = &row.wanted_by {
                let line = self.line(by.as_str(), op, Phase::Ok);
                self.history.add(line.partition(row.partition.as_str()));
            }
        }
    }
}

pub(super) fn name_of(event: usize) -> Text {
    aqueduct_history::Text::from(format!("e{event}"))
}

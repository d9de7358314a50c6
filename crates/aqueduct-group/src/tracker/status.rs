use aqueduct_core::{
    BlockedBy, Checkpoint, Instant, PartitionId, PartitionStatus, Position, StoredAttempts,
};

use super::Progress;
use super::machine::{Tracker, follows};
use super::slots::State;

impl Tracker {
    /// Returns the content of the next commit.
    pub(crate) fn progress(&self) -> Progress {
        let ack_floor = if self.is_settled_to_end() {
            Checkpoint::End
        } else {
            self.floor.ack_floor
        };
        let attempts = self.attempts();
        let dirty = self.floor.committed != (ack_floor, attempts);
        // Until it is removed, the mark of an event that ran alone counts at every crash.
        let stale = self.mark_is_stored() && self.floor.committed.1 != attempts;
        let announces = self.waits_for_announcement();
        let resume_token = follows(ack_floor).and_then(|at| self.tokens.at(at).cloned());
        Progress {
            ack_floor,
            resume_token,
            handed_out: self
                .guard
                .handed_out(self.floor.handed_out, self.floor.last_seen),
            attempts,
            dirty,
            urgent: stale || self.waits_for_mark() || announces,
            announces: announces && !stale,
            settled: self.load.settled,
            caught_up_at: self.floor.caught_up_at,
        }
    }

    /// Returns whether the last commit stored the mark of an event that runs alone.
    pub(crate) fn mark_is_stored(&self) -> bool {
        let counts = |it: StoredAttempts| it.started && it.count > 0;
        self.floor.committed.1.is_some_and(counts)
    }

    /// Notes that the progress is durable; returns whether more may be handed out now.
    pub(crate) fn committed(&mut self, progress: &Progress) -> bool {
        self.floor.committed = (progress.ack_floor, progress.attempts);
        self.load.settled = self.load.settled.saturating_sub(progress.settled);
        self.guard.committed(progress.attempts, progress.handed_out)
    }

    /// Returns whether hand-outs wait for marks or announcements, so that the committer needs to
    /// know of every change.
    pub(crate) fn is_guarded(&self) -> bool {
        self.guard.is_up()
    }

    /// Returns the last position fetched, or the one that reading began behind.
    pub(crate) fn last_seen(&self) -> Option<Position> {
        self.floor.last_seen
    }

    /// Returns the number of events fetched and not settled.
    pub(crate) fn held(&self) -> usize {
        self.slots.held()
    }

    /// Returns the partitions that continue this one's keys, once the reader has ended.
    pub(crate) fn children(&self) -> Option<&[PartitionId]> {
        self.floor.ended.as_deref()
    }

    /// Returns whether the reader has ended and everything is settled.
    pub(crate) fn is_settled_to_end(&self) -> bool {
        match self.is_revoked() {
            true => self.floor.ack_floor == Checkpoint::End,
            false => self.floor.ended.is_some() && self.line.len() == 0,
        }
    }

    /// Returns the number of events with receivers. A drain waits for these and not for retries.
    pub(crate) fn in_flight(&self) -> usize {
        self.load.in_flight
    }

    /// Returns the bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.load.bytes
    }

    /// Returns which key keeps the partition from fetching, while a limit is reached.
    pub(crate) fn blocked_by(&self) -> Option<BlockedBy> {
        let since = self.load.blocked_since?;
        let mut unsettled = self.line.unsettled().map(|at| self.slots.at(at));
        let slot = if self.keys.parked() >= self.options.max_parked {
            unsettled.find(|slot| self.keys.is_troubled(slot.key))
        } else {
            unsettled.next()
        }?;
        Some(BlockedBy {
            key: self.keys.text(slot.key).cloned(),
            position: slot.position,
            since,
        })
    }

    /// Fills in all but lag. Looks at every event held.
    pub(crate) fn fill_status(&self, now: Instant, status: &mut PartitionStatus) {
        status.ack_floor = self.progress().ack_floor;
        status.parked = self.keys.parked();
        status.blocked_by = self.blocked_by();
        status.isolated = self.guard.isolated_until.is_some();
        (status.unsettled, status.unsettled_bytes) = (0, 0);
        status.oldest_unsettled = None;
        for at in self.line.unsettled() {
            let slot = self.slots.at(at);
            let Some(first_out) = slot.first_out else {
                continue;
            };
            status.oldest_unsettled = status.oldest_unsettled.max(Some(now.since(first_out)));
            if matches!(slot.state, State::Out | State::Retry) {
                status.unsettled += 1;
                status.unsettled_bytes += slot.bytes;
            }
        }
    }

    /// Returns the mark of the event that runs alone; otherwise the failed attempts of the event
    /// behind the ack floor; otherwise those stored in the lease for an event not read yet.
    pub(super) fn attempts(&self) -> Option<StoredAttempts> {
        if let Some(trial) = self.guard.trial {
            return Some(trial.mark);
        }
        let first = self.line.first().map(|at| self.slots.at(at));
        match first {
            Some(slot) if slot.failed > 0 => Some(StoredAttempts {
                position: slot.position,
                count: slot.failed,
                started: false,
            }),
            _ => self.floor.stored,
        }
    }

    fn waits_for_announcement(&self) -> bool {
        let Some(announce) = self.guard.announce else {
            return false;
        };
        if self.guard.trial.is_some() || self.line.len() == 0 {
            return false;
        }
        // A suspect is marked instead, and the mark announces less.
        let next = self.ready.freed.front().copied();
        let next = next.or_else(|| self.line.get(self.ready.cursor));
        let next_is_suspect =
            next.is_some_and(|at| self.guard.is_isolated(self.slots.at(at).position));
        self.floor.last_seen > announce.up_to && !next_is_suspect
    }
}

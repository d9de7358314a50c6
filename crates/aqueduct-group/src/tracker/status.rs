use aqueduct_core::{
    BlockedBy, Checkpoint, Instant, PartitionId, PartitionStatus, Position, StoredAttempts,
};

use super::Progress;
use super::machine::Tracker;
use super::slots::State;

impl Tracker {
    /// What to commit now.
    pub(crate) fn progress(&self) -> Progress {
        let ack_floor = if self.is_settled_to_end() {
            Checkpoint::End
        } else {
            self.ack_floor
        };
        let attempts = self.attempts();
        let dirty = self.committed != (ack_floor, attempts);
        let is_cautious = self.isolated_until.is_some() && !self.is_revoked();
        // Until it is taken back a mark counts at every crash, also once caution is over.
        let is_marked = self.committed.1.is_some_and(|attempts| attempts.started);
        let stale = is_marked && self.committed.1 != attempts;
        Progress {
            ack_floor,
            handed_out: match self.announce {
                Some(_) => self.handed_out.max(self.last_seen),
                None => self.handed_out,
            },
            attempts,
            dirty,
            urgent: dirty && is_cautious || stale || self.waits_for_announcement(),
            settled: self.settled,
        }
    }

    /// That progress is durable. Answers whether more may be handed out now: a waiting receiver
    /// takes.
    pub(crate) fn committed(&mut self, progress: &Progress) -> bool {
        let mut opened = false;
        self.committed = (progress.ack_floor, progress.attempts);
        self.settled = self.settled.saturating_sub(progress.settled);
        if let Some(alone) = &mut self.alone
            && progress.attempts == Some(alone.mark)
        {
            opened = !alone.durable;
            alone.durable = true;
        }
        if let Some(announce) = &mut self.announce
            && progress.handed_out > announce.up_to
        {
            announce.up_to = progress.handed_out;
            announce.until = announce.until.or(progress.handed_out);
            opened = true;
        }
        opened
    }

    /// Whether hand-outs wait for marks or announcements: every change concerns the committer.
    pub(crate) fn is_guarded(&self) -> bool {
        self.isolated_until.is_some() || self.announce.is_some()
    }

    /// Whether [`mark_needed`](Self::mark_needed) should be asked, once a receiver waits.
    pub(crate) fn may_need_mark(&self) -> bool {
        self.isolated_until.is_some() && self.alone.is_none() && self.in_flight == 0
    }

    /// Whether an event was chosen to run alone and is not settled.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// Whether a commit of the progress must be durable before the chosen event is handed out.
    pub(crate) fn waits_for_mark(&self) -> bool {
        self.alone.is_some_and(|alone| !alone.durable)
    }

    /// Whether the chosen event is durably marked and not handed out.
    pub(crate) fn is_unclaimed(&self) -> bool {
        self.alone
            .is_some_and(|alone| alone.durable && self.slots.at(alone.at).state == State::Waiting)
    }

    /// Returns the last position fetched, or the one that reading began behind.
    pub(crate) fn last_seen(&self) -> Option<Position> {
        self.last_seen
    }

    /// Events fetched and not settled.
    pub(crate) fn held(&self) -> usize {
        self.slots.held()
    }

    /// The partitions that go on with this one's keys, once the reader has ended.
    pub(crate) fn children(&self) -> Option<&[PartitionId]> {
        self.ended.as_deref()
    }

    /// Whether the reader has ended and everything is settled.
    pub(crate) fn is_settled_to_end(&self) -> bool {
        match self.is_revoked() {
            true => self.ack_floor == Checkpoint::End,
            false => self.ended.is_some() && self.line.len() == 0,
        }
    }

    /// Events that are with receivers. A drain waits for these and not for retries.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Who keeps the partition from fetching, while a limit is reached.
    pub(crate) fn blocked_by(&self) -> Option<BlockedBy> {
        let since = self.blocked_since?;
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
        status.isolated = self.isolated_until.is_some();
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

    /// The mark of the event that runs alone; else what failed at the event behind the ack floor;
    /// else what the lease said of an event not read yet.
    pub(super) fn attempts(&self) -> Option<StoredAttempts> {
        if let Some(alone) = self.alone {
            return Some(alone.mark);
        }
        let first = self.line.first().map(|at| self.slots.at(at));
        match first {
            Some(slot) if slot.failed > 0 => Some(StoredAttempts {
                position: slot.position,
                count: slot.failed,
                started: false,
            }),
            _ => self.stored,
        }
    }

    fn waits_for_announcement(&self) -> bool {
        let seen: Option<Position> = self.last_seen;
        self.announce
            .is_some_and(|announce| self.line.len() > 0 && seen > announce.up_to)
    }
}

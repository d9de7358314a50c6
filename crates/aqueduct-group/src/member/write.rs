use aqueduct_core::{Checkpoint, Instant, Lease, OwnerId, PartitionId, Result, Revocation, Swap};

use super::allowance::Allowance;
use super::balance::without_begun;
use super::{
    Command, FlushMarks, Kind, Member, Opening, Owned, Pending, Retry, Row, Snapshot, WriteKind,
    Writes,
};
use crate::tracker::Progress;

/// The progress and flush that a write carries beside the renewal.
#[derive(Default)]
pub(super) struct Carried {
    pub(super) progress: Option<Progress>,
    pub(super) flush: u64,
}

impl Owned {
    pub(super) fn new(lease: Lease, now: Instant) -> Self {
        Self {
            lease,
            deadline: None,
            pending: None,
            retry: Retry {
                at: now,
                failures: 0,
                refused: 0,
            },
            writes: Writes {
                last_sent: now,
                renew_at: now,
                allowance: Allowance::new(now),
                alone_from: now,
            },
            flush: FlushMarks::default(),
            ended_since: None,
            stop: None,
        }
    }
}

impl Member {
    /// Returns the row that renews `lease` and stores `progress`.
    pub(super) fn renewed(&mut self, lease: &Lease, progress: Option<&Progress>) -> Lease {
        let mut next = lease.clone();
        next.counter += 1;
        next.nonce = self.steps.rng.next_u64();
        if let Some(progress) = progress {
            if progress.ack_floor != lease.checkpoint {
                next.unclean = 0;
            }
            next.checkpoint = progress.ack_floor;
            next.resume_token.clone_from(&progress.resume_token);
            next.handed_out = progress.handed_out;
            next.attempts = progress.attempts;
            // An earlier time stays valid: the checkpoint never moves back.
            next.caught_up_at = next.caught_up_at.max(progress.caught_up_at);
        }
        next
    }

    /// Returns the row that gives `lease` up and commits the last progress in one write.
    pub(super) fn given_up(
        &mut self,
        lease: &Lease,
        last: Option<&Snapshot>,
        why: Revocation,
        to: Option<OwnerId>,
    ) -> Lease {
        let progress = last
            .map(|last| &last.progress)
            .filter(|progress| why == Revocation::Ended || progress.ack_floor != Checkpoint::End);
        let mut next = self.renewed(lease, progress);
        if let (Revocation::Ended, Some(children)) =
            (why, last.and_then(|last| last.ended.as_ref()))
        {
            next.children.clone_from(children);
        }
        match why {
            // It was never opened here: keep the traces of the previous owner.
            Revocation::Shutdown if last.is_none() => {}
            // A clean release leaves no traces of a crash, so the next owner needs no isolation.
            _ => next.handed_out = None,
        }
        if why == Revocation::Lost {
            next.attempts = next.attempts.and_then(without_begun);
        }
        next.generation += u64::from(to.is_some());
        next.owner = to;
        next.wanted_by = None;
        next
    }

    pub(super) fn send(
        &mut self,
        partition: &PartitionId,
        kind: Kind,
        next: Lease,
        carried: Carried,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let op = self.next_op();
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        let pending = Pending {
            op,
            kind,
            first_sent: now,
            last_sent: now,
            current: owned.lease.clone(),
            next,
            progress: carried.progress,
            flush: carried.flush,
            doubt: false,
            idle: false,
        };
        out.push(pending.command());
        owned.pending = Some(pending);
    }

    pub(super) fn on_written(
        &mut self,
        partition: &PartitionId,
        op: u64,
        answer: Result<Swap>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let Some(pending) = self.take_pending(partition, op) else {
            return;
        };
        match answer {
            Ok(Swap::Swapped(row)) => {
                let sent = pending.last_sent;
                self.applied(partition, pending, row, sent, now, out);
            }
            Ok(Swap::Lost(row)) => self.resolve(partition, pending, row, now, out),
            Err(error) => self.write_failed(partition, pending, &error, now),
        }
    }

    pub(super) fn on_read(
        &mut self,
        partition: &PartitionId,
        op: u64,
        answer: Result<Option<Lease>>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        if let Some(mut pending) = self.take_pending(partition, op) {
            match answer {
                Ok(row) => self.resolve(partition, pending, row, now, out),
                Err(_) => {
                    pending.idle = true;
                    self.put_off(partition, Some(pending), now);
                }
            }
            return;
        }
        let renew_every = self.identity.timings.renew_every;
        let again = now + self.steps.rng.percent_of(renew_every, 50, 100);
        if let Some(ask) = self.asks.open.get_mut(partition)
            && ask.reading == Some(op)
        {
            ask.reading = None;
            ask.next_read = again;
            if self.ending.closing {
                self.asks.open.remove(partition);
            }
            match answer {
                Ok(Some(row)) => self.observe(row, now, now, out),
                Ok(None) => drop(self.asks.open.remove(partition)),
                Err(_) => self.not_reached(now),
            }
        }
    }

    pub(super) fn applied(
        &mut self,
        partition: &PartitionId,
        pending: Pending,
        row: Lease,
        sent: Instant,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        self.reached();
        let timings = self.identity.timings;
        // Counted from when the write was sent: others may see the row from then on (rule 6).
        let deadline = sent + timings.held();
        let renew_in = self.steps.rng.percent_of(timings.renew_every, 85, 100);
        self.table.rows.insert(
            partition.clone(),
            Row {
                lease: row.clone(),
                since: now,
            },
        );
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        owned.lease = row;
        owned.retry.failures = 0;
        owned.retry.refused = 0;
        owned.writes.last_sent = pending.last_sent;
        owned.writes.renew_at = pending.last_sent + renew_in;
        owned.deadline = Some(deadline);
        match pending.kind {
            Kind::Last => {
                let left_out = pending
                    .progress
                    .is_some_and(|progress| progress.ack_floor != pending.next.checkpoint);
                for flush in &mut self.ending.flushes {
                    let covers = flush.id > owned.flush.covered && flush.id <= owned.flush.wanted;
                    flush.lost |= left_out && covers;
                }
                let why = owned
                    .stop
                    .as_ref()
                    .map_or(Revocation::Lost, |stop| stop.why);
                self.owned.remove(partition);
                self.table.lost.remove(partition);
                self.ending.kept.remove(partition);
                if why == Revocation::Ended {
                    self.listings.hurry(now);
                    self.steps.balance_due = true;
                }
                out.push(Command::Gone(partition.clone(), why));
            }
            Kind::Take | Kind::Accept if self.ending.closing => {
                // It was never opened: it may be given up even if the response came late.
                owned.deadline = Some(deadline.max(now + timings.call_limit()));
                self.stop_one(partition, now, out);
            }
            Kind::Take | Kind::Accept if now >= deadline => {
                self.lose(partition, Revocation::Lost, now, out);
            }
            Kind::Take | Kind::Accept => {
                owned.writes.alone_from = now + timings.settle_in();
                out.push(Command::Open(Opening {
                    lease: owned.lease.clone(),
                    replay: self.table.group.record.replay,
                    until: deadline,
                }));
            }
            Kind::Commit => {
                owned.flush.covered = owned.flush.covered.max(pending.flush);
                out.push(Command::Extended(partition.clone(), deadline));
                if let Some(progress) = pending.progress {
                    out.push(Command::Committed(partition.clone(), progress));
                }
            }
        }
    }

    fn take_pending(&mut self, partition: &PartitionId, op: u64) -> Option<Pending> {
        let owned = self.owned.get_mut(partition)?;
        owned.pending.take_if(|pending| pending.op == op)
    }

    /// Counts the partition as gone without a last write.
    pub(super) fn lose(
        &mut self,
        partition: &PartitionId,
        why: Revocation,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let Some(owned) = self.owned.remove(partition) else {
            return;
        };
        for flush in &mut self.ending.flushes {
            flush.lost |= flush.id > owned.flush.covered && flush.id <= owned.flush.wanted;
        }
        if owned.deadline.is_some() {
            self.table
                .lost
                .insert(partition.clone(), owned.lease.generation);
            out.push(Command::Gone(partition.clone(), why));
            let soon = now
                + self
                    .steps
                    .rng
                    .percent_of(self.identity.timings.renew_every, 25, 75);
            self.listings.next = self.listings.next.min(soon);
        }
    }
}

impl Pending {
    /// Whether it gives the partition to the member that asked for it.
    pub(super) fn hands_off(&self) -> bool {
        self.kind == Kind::Last && self.next.owner.is_some()
    }

    pub(super) fn command(&self) -> Command {
        let kind = match self.kind {
            Kind::Take | Kind::Last => WriteKind::Swap,
            Kind::Accept | Kind::Commit => WriteKind::Commit,
        };
        Command::Write {
            op: self.op,
            kind,
            current: Box::new(self.current.clone()),
            next: Box::new(self.next.clone()),
        }
    }
}

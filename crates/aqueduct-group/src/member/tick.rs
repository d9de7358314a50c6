use aqueduct_core::{Checkpoint, Instant, OwnerId, PartitionId, Revocation};

use super::write::Carried;
use super::{Command, Flush, Kind, Member, Owned, Snapshot, Stop, Timings, Work};
use crate::tracker::Progress;

impl Member {
    /// Performs the work that is due.
    pub(super) fn tick(&mut self, now: Instant, work: &mut dyn Work, out: &mut Vec<Command>) {
        self.steps.last_tick = now;
        // Also while closing: the children of an ended partition must be known to give it up.
        let lists = !self.ending.closing || self.owned.values().any(|it| it.ended_since.is_some());
        if lists && self.listings.begin(now) {
            let known = self
                .table
                .rows
                .values()
                .map(|row| row.lease.clone())
                .collect();
            out.push(Command::List(known));
        }
        self.alone
            .look_after(self.identity.timings.drain, now, work);
        let mut partitions: Vec<_> = self.owned.keys().cloned().collect();
        let first = self.alone.first(&partitions);
        partitions.rotate_left(first);
        for partition in &partitions {
            self.tend(partition, now, work, out);
        }
        if !self.ending.closing {
            self.watch_asks(now, out);
            if std::mem::take(&mut self.steps.balance_due) {
                self.balance(now, work, out);
            }
        }
        self.answer_flushes(out);
        if self.ending.closing
            && self.owned.is_empty()
            && self.asks.open.is_empty()
            && self.asks.sent == 0
        {
            self.ending.closed = true;
            let kept = std::mem::take(&mut self.ending.kept).into_iter().collect();
            out.push(Command::Closed { kept });
        }
    }

    pub(super) fn on_flush(&mut self, id: u64, work: &mut dyn Work) {
        for (partition, owned) in &mut self.owned {
            if work
                .snapshot(partition)
                .is_some_and(|snapshot| snapshot.progress.dirty)
            {
                owned.flush.wanted = id;
            }
        }
        self.ending.flushes.push(Flush { id, lost: false });
    }

    /// Writes what one owned partition needs written, one write at a time.
    pub(super) fn tend(
        &mut self,
        partition: &PartitionId,
        now: Instant,
        work: &mut dyn Work,
        out: &mut Vec<Command>,
    ) {
        if self.is_writing(partition, now, out) {
            return;
        }
        let closed_up = |owned: &Owned| {
            let stopped = owned.stop.as_ref().is_some_and(|stop| stop.last.is_some());
            stopped || owned.is_let_go()
        };
        let snapshot = match self.owned.get(partition) {
            Some(owned) if !closed_up(owned) => work.snapshot(partition),
            _ => None,
        };
        if let Some(snapshot) = &snapshot {
            self.hand_off_if_asked(partition, now, out);
            self.end_if_settled(partition, snapshot, now, out);
        }
        if self.give_up(partition, now, work, out) {
            return;
        }
        let snapshot = self.try_suspects(partition, snapshot, now, work);
        self.commit_if_due(partition, snapshot, now, out);
    }

    /// Returns whether a write is in progress or postponed; re-reads the row if a response was
    /// lost.
    fn is_writing(
        &mut self,
        partition: &PartitionId,
        now: Instant,
        out: &mut Vec<Command>,
    ) -> bool {
        let op = self.steps.ops + 1;
        let Some(owned) = self.owned.get_mut(partition) else {
            return true;
        };
        if let Some(pending) = &mut owned.pending {
            // Repeating a write whose response was lost is only safe once the row is known.
            if pending.idle && now >= owned.retry.at {
                pending.idle = false;
                pending.op = op;
                self.steps.ops = op;
                out.push(Command::Read(partition.clone(), op));
            }
            return true;
        }
        owned.deadline.is_none() || now < owned.retry.at
    }

    /// Begins to drain a partition that another member asked for.
    fn hand_off_if_asked(&mut self, partition: &PartitionId, now: Instant, out: &mut Vec<Command>) {
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        if owned.wanted_by(&self.identity.owner).is_some() && owned.stop.is_none() {
            owned.stop = Some(Stop {
                why: Revocation::HandedOff,
                since: now,
                last: None,
            });
            out.push(Command::Drain(partition.clone(), Revocation::HandedOff));
        }
    }

    /// Begins to end a partition that is settled to its end and whose children have leases, so that
    /// no member can take the end for a gap (rule 8).
    fn end_if_settled(
        &mut self,
        partition: &PartitionId,
        snapshot: &Snapshot,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        if let Some(children) = &snapshot.ended
            && self.has_children(partition, children, now, out)
            && let Some(owned) = self.owned.get_mut(partition)
        {
            owned.stop = Some(Stop {
                why: Revocation::Ended,
                since: now,
                last: Some(snapshot.clone()),
            });
        }
    }

    /// Renews, commits or marks, if one of them is due; one write does all three.
    fn commit_if_due(
        &mut self,
        partition: &PartitionId,
        snapshot: Option<Snapshot>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let timings = self.identity.timings;
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        let mark = snapshot.as_ref().is_some_and(|snapshot| snapshot.mark);
        let progress = snapshot
            .map(|snapshot| snapshot.progress)
            .filter(|progress| progress.ack_floor != Checkpoint::End);
        if progress.as_ref().is_some_and(|progress| !progress.dirty) {
            owned.flush.covered = owned.flush.wanted;
        }
        let early = progress.as_ref().filter(|progress| progress.urgent || mark);
        let early = early.is_some_and(|progress| {
            let every = timings.commit_interval;
            !progress.announces || owned.writes.allowance.allows(1, every, now)
        });
        let on_time = now >= owned.writes.renew_at
            || progress
                .as_ref()
                .is_some_and(|progress| owned.is_commit_due(progress, &timings, now));
        if !early && !on_time {
            return;
        }
        if early && !on_time {
            owned.writes.allowance.spend();
        }
        let lease = owned.lease.clone();
        // A renewal alone makes nothing durable.
        let flush = match progress {
            Some(_) => owned.flush.wanted,
            None => owned.flush.covered,
        };
        let next = self.renewed(&lease, progress.as_ref());
        let carried = Carried { progress, flush };
        self.send(partition, Kind::Commit, next, carried, now, out);
    }

    /// Sends the last write of a partition that is stopped and drained, or out of time.
    fn give_up(
        &mut self,
        partition: &PartitionId,
        now: Instant,
        work: &mut dyn Work,
        out: &mut Vec<Command>,
    ) -> bool {
        let drain = self.identity.timings.drain;
        let Some(owned) = self.owned.get_mut(partition) else {
            return true;
        };
        let let_go = owned.is_let_go();
        let Some(stop) = &mut owned.stop else {
            return false;
        };
        if let_go {
            // Progress made since then belongs to the next owner.
        } else if stop.last.is_none() {
            let snapshot = work.snapshot(partition);
            let drained = snapshot
                .as_ref()
                .is_none_or(|snapshot| snapshot.drained && snapshot.ended.is_none());
            // Handlers get the drain time; after it their deliveries are revoked.
            if !drained && now < stop.since + drain {
                return false;
            }
            stop.last = work.stop(partition, stop.why);
        } else if stop.why == Revocation::Ended {
            work.stop(partition, stop.why);
        }
        let (why, last) = (stop.why, stop.last.clone());
        // As the row says now: a member that has withdrawn its request may have left, and the partition
        // would wait there for a whole ttl (rule 6).
        let to = match why {
            Revocation::HandedOff => owned.wanted_by(&self.identity.owner).cloned(),
            _ => None,
        };
        let flush = owned.flush.wanted;
        let lease = owned.lease.clone();
        let next = self.given_up(&lease, last.as_ref(), why, to);
        let carried = Carried {
            progress: last.map(|last| last.progress),
            flush,
        };
        self.send(partition, Kind::Last, next, carried, now, out);
        true
    }

    fn answer_flushes(&mut self, out: &mut Vec<Command>) {
        let owned = &self.owned;
        self.ending.flushes.retain(|flush| {
            let waits = owned
                .values()
                .any(|it| it.flush.covered < flush.id && it.flush.wanted >= flush.id);
            if !waits {
                out.push(Command::Flushed {
                    id: flush.id,
                    lost: flush.lost,
                });
            }
            waits
        });
    }
}

impl Owned {
    /// Returns the other member that asks for the partition.
    fn wanted_by(&self, owner: &OwnerId) -> Option<&OwnerId> {
        self.lease.wanted_by.as_ref().filter(|by| *by != owner)
    }

    /// Returns whether progress is to be stored: on the interval, by count, or for a flush.
    fn is_commit_due(&self, progress: &Progress, timings: &Timings, now: Instant) -> bool {
        let since = now.since(self.writes.last_sent);
        let by_count = progress.settled >= timings.commit_count && since >= timings.commit_min;
        let asked = self.flush.covered < self.flush.wanted;
        progress.dirty && (asked || by_count || since >= timings.commit_interval)
    }
}

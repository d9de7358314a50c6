use std::time::Duration;

use aqueduct_core::{Checkpoint, Instant, PartitionId, Revocation};

use super::write::Carried;
use super::{CLAIM_WITHIN, Command, Flush, Kind, Member, Stop, Work};

impl Member {
    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant, work: &mut dyn Work, out: &mut Vec<Command>) {
        self.last_tick = now;
        // Also while closing, where the children of what has ended must be known.
        let lists = !self.closing || self.owned.values().any(|it| it.ended_since.is_some());
        if lists && self.listing.is_none() && now >= self.next_list {
            self.listing = Some(now);
            let known = self.rows.values().map(|row| row.lease.clone()).collect();
            out.push(Command::List(known));
        }
        self.look_after_alone(now, work);
        let mut partitions: Vec<_> = self.owned.keys().cloned().collect();
        let first = match &self.ran_alone {
            Ok(last) => partitions.partition_point(|partition| partition <= last),
            Err(drawn) => (drawn % partitions.len().max(1) as u64) as usize,
        };
        partitions.rotate_left(first);
        for partition in &partitions {
            self.tend(partition, now, work, out);
        }
        if !self.closing {
            self.watch_asks(now, out);
            if std::mem::take(&mut self.balance_due) {
                self.balance(now, work, out);
            }
        }
        self.answer_flushes(out);
        if self.closing && self.owned.is_empty() && self.asks.is_empty() {
            self.closed = true;
            let kept = std::mem::take(&mut self.kept).into_iter().collect();
            out.push(Command::Closed { kept });
        }
    }

    pub(super) fn on_flush(&mut self, id: u64, work: &mut dyn Work) {
        for (partition, owned) in &mut self.owned {
            if work
                .snapshot(partition)
                .is_some_and(|snapshot| snapshot.progress.dirty)
            {
                owned.flush = id;
            }
        }
        self.flushes.push(Flush { id, lost: false });
    }

    /// Writes what one owned partition needs written, one write at a time.
    fn tend(
        &mut self,
        partition: &PartitionId,
        now: Instant,
        work: &mut dyn Work,
        out: &mut Vec<Command>,
    ) {
        let op = self.ops + 1;
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        if let Some(pending) = &mut owned.pending {
            if pending.idle && now >= owned.retry_at {
                pending.idle = false;
                pending.op = op;
                self.ops = op;
                out.push(Command::Read(partition.clone(), op));
            }
            return;
        }
        if owned.deadline.is_none() || now < owned.retry_at {
            return;
        }
        let stopped = owned.stop.as_ref().is_some_and(|stop| stop.last.is_some());
        let snapshot = if stopped || owned.is_let_go() {
            None
        } else {
            work.snapshot(partition)
        };
        // What was opened just now has not begun yet: it is asked again at the next tick.
        if snapshot.is_some()
            && owned.stop.is_none()
            && let Some(by) = owned.lease.wanted_by.clone().filter(|by| *by != self.owner)
        {
            owned.stop = Some(Stop {
                why: Revocation::HandedOff,
                to: Some(by),
                since: now,
                last: None,
            });
            out.push(Command::Drain(partition.clone(), Revocation::HandedOff));
        }
        let ended = snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.ended.clone());
        if let Some(children) = ended
            && self.has_children(partition, &children, now, out)
            && let Some(owned) = self.owned.get_mut(partition)
        {
            owned.stop = Some(Stop {
                why: Revocation::Ended,
                to: None,
                since: now,
                last: snapshot.clone(),
            });
        }
        if self.give_up(partition, now, work, out) {
            return;
        }
        let timings = self.timings;
        let snapshot = match snapshot {
            Some(snapshot) if snapshot.wants_mark && self.alone.is_none() => {
                let marked = work.mark(partition);
                if marked.as_ref().is_some_and(|marked| marked.mark) {
                    self.alone = Some((partition.clone(), now));
                    self.ran_alone = Ok(partition.clone());
                }
                marked
            }
            snapshot => snapshot,
        };
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        let progress = snapshot
            .as_ref()
            .map(|snapshot| snapshot.progress)
            .filter(|progress| progress.ack_floor != Checkpoint::End);
        let mark = progress.is_some() && snapshot.is_some_and(|snapshot| snapshot.mark);
        let dirty = progress.is_some_and(|progress| progress.dirty);
        if progress.is_some() && !dirty {
            owned.flushed = owned.flush;
        }
        let since = now.since(owned.last_sent);
        let due = mark
            || progress.is_some_and(|progress| progress.urgent)
            || now >= owned.renew_at
            || dirty
                && (owned.flushed < owned.flush
                    || since >= timings.commit_interval
                    || since >= timings.commit_min
                        && progress.is_some_and(|it| it.settled >= timings.commit_count));
        if due {
            let lease = owned.lease.clone();
            // A renewal alone makes nothing durable.
            let flush = progress.map_or(owned.flushed, |_| owned.flush);
            let next = self.renewed(&lease, progress.as_ref());
            let carried = Carried { progress, flush };
            self.send(partition, Kind::Commit, next, carried, now, out);
        }
    }

    /// Lets the next one run alone, once the event that does is settled or gone.
    fn look_after_alone(&mut self, now: Instant, work: &mut dyn Work) {
        let Some((partition, since)) = &mut self.alone else {
            return;
        };
        let open = self.owned.contains_key(partition);
        let snapshot = open.then(|| work.snapshot(partition)).flatten();
        if snapshot.as_ref().is_none_or(|snapshot| !snapshot.alone) {
            self.alone = None;
        } else if snapshot.is_some_and(|snapshot| !snapshot.unclaimed) {
            *since = now;
        } else if now >= *since + CLAIM_WITHIN {
            work.withdraw(partition);
            self.alone = None;
        }
    }

    /// Sends the last write of a partition that is stopped and drained, or out of time.
    fn give_up(
        &mut self,
        partition: &PartitionId,
        now: Instant,
        work: &mut dyn Work,
        out: &mut Vec<Command>,
    ) -> bool {
        let drain = self.timings.drain;
        let Some(owned) = self.owned.get_mut(partition) else {
            return true;
        };
        let let_go = owned.is_let_go();
        let Some(stop) = &mut owned.stop else {
            return false;
        };
        if let_go {
            // Whatever it came to since then is not ours to write.
        } else if stop.last.is_none() {
            let snapshot = work.snapshot(partition);
            let drained = snapshot
                .as_ref()
                .is_none_or(|snapshot| snapshot.drained && snapshot.ended.is_none());
            if !drained && now < stop.since + drain {
                return false;
            }
            stop.last = work.stop(partition, stop.why);
        } else if stop.why == Revocation::Ended {
            work.stop(partition, stop.why);
        }
        let (why, to, last) = (stop.why, stop.to.clone(), stop.last.clone());
        let flush = owned.flush;
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
        self.flushes.retain(|flush| {
            let waits = owned
                .values()
                .any(|it| it.flushed < flush.id && it.flush >= flush.id);
            if !waits {
                out.push(Command::Flushed {
                    id: flush.id,
                    lost: flush.lost,
                });
            }
            waits
        });
    }

    /// Lists again soon, though not in a loop.
    pub(super) fn hurry_list(&mut self, now: Instant) {
        let soonest = self
            .listed
            .map_or(now, |listed| listed + Duration::from_millis(200));
        self.next_list = self.next_list.min(soonest.max(now));
    }
}

use std::collections::{BTreeMap, BTreeSet};

use aqueduct_core::{Checkpoint, Instant, Lease, OwnerId, PartitionId, Result, StoredAttempts};

use super::lineage::Lineage;
use super::write::Carried;
use super::{Command, Kind, Member, Owned, Row, Work};

impl Member {
    /// Takes free partitions up to a fair share.
    pub(super) fn balance(&mut self, now: Instant, work: &dyn Work, out: &mut Vec<Command>) {
        let lineage = Lineage::new(&self.table.rows, &self.table.partitions);
        let mut free = Vec::new();
        let mut readable = 0usize;
        let mut members = BTreeSet::from([self.identity.owner.clone()]);
        for row in self.table.rows.values() {
            let lease = &row.lease;
            if self.owned.contains_key(&lease.partition) {
                readable += 1;
                continue;
            }
            if !lineage.is_readable(lease) {
                continue;
            }
            readable += 1;
            if self.is_free(row, now, work) {
                free.push((lease.partition.clone(), row.since));
            } else {
                members.extend(lease.owner.clone());
                members.extend(lease.wanted_by.clone());
            }
        }
        let share = readable.div_ceil(members.len());
        self.steps.rng.shuffle(&mut free);
        for (partition, since) in free {
            let mine = self.owned.len();
            // A lease that stayed free for long is beyond the limits of the others.
            let left_over = now.since(since) >= self.identity.timings.life * 2;
            if mine < self.identity.timings.max_partitions && (mine < share || left_over) {
                self.take(&partition, work, now, out);
            }
        }
    }

    /// Asks the busiest member for one partition, if that brings both closer to a fair share.
    pub(super) fn ask_for_one(&mut self, now: Instant, work: &dyn Work, out: &mut Vec<Command>) {
        let lineage = Lineage::new(&self.table.rows, &self.table.partitions);
        let mut counts: BTreeMap<&OwnerId, usize> = BTreeMap::from([(&self.identity.owner, 0)]);
        let mut candidates: Vec<&Lease> = Vec::new();
        let again = self.identity.timings.life * 2;
        for row in self.table.rows.values() {
            let lease = &row.lease;
            let readable = lineage.is_readable(lease);
            let owned = self.owned.contains_key(&lease.partition);
            if !readable || (!owned && self.is_free(row, now, work)) {
                continue;
            }
            let owner = if owned {
                Some(&self.identity.owner)
            } else {
                lease.owner.as_ref()
            };
            // A requested partition counts for the member that asked.
            if let Some(owner) = lease.wanted_by.as_ref().or(owner) {
                *counts.entry(owner).or_default() += 1;
            }
            let asked = self.asks.recent.get(&lease.partition);
            if !owned
                && lease.wanted_by.is_none()
                && asked.is_none_or(|asked| now.since(*asked) >= again)
            {
                candidates.push(lease);
            }
        }
        let mine = counts.get(&self.identity.owner).copied().unwrap_or(0);
        candidates.retain(|lease| {
            let theirs = lease.owner.as_ref().and_then(|owner| counts.get(owner));
            theirs.is_some_and(|theirs| *theirs >= mine + 2)
        });
        let busiest = |lease: &&Lease| lease.owner.as_ref().and_then(|it| counts.get(it)).copied();
        let Some(most) = candidates.iter().map(busiest).max() else {
            return;
        };
        if mine >= self.identity.timings.max_partitions {
            return;
        }
        candidates.retain(|lease| busiest(lease) == most);
        let lease = candidates[self.steps.rng.below(candidates.len())].clone();
        self.asks.recent.insert(lease.partition.clone(), now);
        self.asks.sent += 1;
        out.push(Command::Request(lease));
    }

    pub(super) fn on_requested(
        &mut self,
        partition: &PartitionId,
        answer: Result<Option<Lease>>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        self.asks.sent = self.asks.sent.saturating_sub(1);
        match answer {
            Ok(Some(row)) => {
                self.reached();
                let asks = row.wanted_by.as_ref() == Some(&self.identity.owner);
                if asks && row.owner.is_some() {
                    self.begin_ask(&row, now);
                    if self.ending.closing {
                        self.withdraw(&row, out);
                    }
                }
                if let Some(known) = self.table.rows.get_mut(partition)
                    && known.lease.is_same_row(&row)
                {
                    known.lease = row;
                }
            }
            Ok(None) => self.reached(),
            Err(_) => self.not_reached(now),
        }
    }

    /// Follows up on requested partitions: reads their rows, and takes them by force from an owner
    /// that lives but does not respond.
    pub(super) fn watch_asks(&mut self, now: Instant, out: &mut Vec<Command>) {
        let batch_wait = self.identity.timings.drain + self.identity.timings.life;
        let partitions: Vec<_> = self.asks.open.keys().cloned().collect();
        for partition in partitions {
            let row = self.table.rows.get(&partition).map(|row| row.lease.clone());
            let Some(ask) = self.asks.open.get_mut(&partition) else {
                continue;
            };
            let Some(row) = row.filter(|row| {
                row.generation == ask.generation
                    && row.owner.is_some()
                    && row.checkpoint != Checkpoint::End
            }) else {
                self.asks.open.remove(&partition);
                continue;
            };
            if now >= ask.since + batch_wait {
                self.asks.open.remove(&partition);
                if row.wanted_by.as_ref() == Some(&self.identity.owner) {
                    tracing::warn!(key = %self.identity.key, %partition, "not handed off in time: it is taken by force");
                    let unclean = row.unclean;
                    self.take_row(row, unclean, now, out);
                }
            } else if now >= ask.next_read && ask.reading.is_none() {
                self.steps.ops += 1;
                ask.reading = Some(self.steps.ops);
                out.push(Command::Read(partition, self.steps.ops));
            }
        }
    }

    /// Accepts a row that names us although we do not own it now: handed off to us, or lost by us
    /// and not taken since.
    pub(super) fn claim(&mut self, row: Lease, now: Instant, out: &mut Vec<Command>) {
        if self.table.lost.get(&row.partition) == Some(&row.generation) {
            let mut row = row;
            // We did not die, so what ran when the lease was lost has not killed us.
            row.attempts = row.attempts.and_then(without_begun);
            let unclean = row.unclean;
            self.take_row(row, unclean, now, out);
        } else {
            let partition = row.partition.clone();
            let next = self.renewed(&row, None);
            self.owned.insert(partition.clone(), Owned::new(row, now));
            self.send(&partition, Kind::Accept, next, Carried::default(), now, out);
        }
    }

    fn is_free(&self, row: &Row, now: Instant, work: &dyn Work) -> bool {
        match &row.lease.owner {
            None => true,
            Some(owner) if *owner == self.identity.owner => false,
            Some(owner) => {
                work.is_dead(owner) || now.since(row.since) >= self.identity.timings.life
            }
        }
    }

    fn take(
        &mut self,
        partition: &PartitionId,
        work: &dyn Work,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let Some(row) = self.table.rows.get(partition) else {
            return;
        };
        let row = row.lease.clone();
        if let Some(owner) = &row.owner {
            let dead = work.is_dead(owner);
            tracing::info!(key = %self.identity.key, %partition, %owner, dead, "lease expired: it is taken");
        }
        let unclean = row.unclean + u32::from(row.owner.is_some());
        self.take_row(row, unclean, now, out);
    }

    fn take_row(&mut self, row: Lease, unclean: u32, now: Instant, out: &mut Vec<Command>) {
        let partition = row.partition.clone();
        let mut next = self.renewed(&row, None);
        next.owner = Some(self.identity.owner.clone());
        next.generation += 1;
        next.wanted_by = None;
        next.unclean = unclean;
        self.owned.insert(partition.clone(), Owned::new(row, now));
        self.send(&partition, Kind::Take, next, Carried::default(), now, out);
    }
}

/// The attempts without the one that had begun.
pub(super) fn without_begun(mut attempts: StoredAttempts) -> Option<StoredAttempts> {
    if std::mem::take(&mut attempts.started) {
        attempts.count = attempts.count.saturating_sub(1);
    }
    (attempts.count > 0).then_some(attempts)
}

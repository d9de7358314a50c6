use std::time::Duration;

use aqueduct_core::{Effect, Error, Instant, Lease, PartitionId, Revocation};

use super::{Command, Kind, Member, Pending, Row};

/// Writes that were refused, failed, or whose response was lost.
impl Member {
    /// Decides from a row whether the write whose response was lost or refused went through.
    pub(super) fn resolve(
        &mut self,
        partition: &PartitionId,
        mut pending: Pending,
        row: Option<Lease>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        self.reached();
        let op = self.next_op();
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        let Some(row) = row else {
            self.table.rows.remove(partition);
            self.table.group.fresh = false;
            self.lose(partition, Revocation::Lost, now, out);
            return;
        };
        let next = &pending.next;
        // The new owner may have written since the hand-off, which proves that it went through.
        let moved_on = pending.kind == Kind::Last
            && next.owner.is_some()
            && row.owner == next.owner
            && row.generation == next.generation;
        if (row.nonce == next.nonce && row.owner == next.owner) || moved_on {
            let sent = pending.first_sent;
            self.applied(partition, pending, row, sent, now, out);
            return;
        }
        let ours = match pending.kind {
            // Until it is written again the first one may still arrive, unseen.
            Kind::Take => pending.doubt && row.is_same_row(&pending.current),
            _ => {
                row.owner.as_ref() == Some(&self.identity.owner)
                    && row.generation == owned.lease.generation
                    && (row.nonce == owned.lease.nonce || owned.is_let_go())
            }
        };
        if !ours {
            self.table.rows.insert(
                partition.clone(),
                Row {
                    lease: row,
                    since: now,
                },
            );
            self.lose(partition, Revocation::Lost, now, out);
            return;
        }
        let withdrawn = pending.hands_off() && row.wanted_by != pending.next.owner;
        let unchanged = row.is_same_row(&pending.current) && !withdrawn;
        owned.lease = row.clone();
        if pending.doubt && unchanged {
            // The same write again: should the first one still arrive, only one of them counts.
            pending.op = op;
            pending.current = row;
            pending.last_sent = now;
            out.push(pending.command());
            owned.pending = Some(pending);
        } else if owned.deadline.is_none() {
            // The acceptance was refused although the row names this member. Nothing is open and
            // nothing is pending, so the entry would wait for ever; the next listing accepts again.
            self.drop_unopened(partition, row, now);
        } else {
            owned.retry.refused += 1;
            if owned.retry.refused > 2 {
                self.put_off(partition, None, now);
            }
        }
    }

    pub(super) fn write_failed(
        &mut self,
        partition: &PartitionId,
        mut pending: Pending,
        error: &Error,
        now: Instant,
    ) {
        tracing::warn!(key = %self.identity.key, %partition, %error, kind = ?pending.kind, "lease not written");
        // A write of unknown effect may still arrive: read the row before anything else is written.
        let unknown = pending.doubt || error.effect() == Effect::Unknown;
        if unknown {
            pending.doubt = true;
            pending.idle = true;
            self.put_off(partition, Some(pending), now);
        } else if matches!(pending.kind, Kind::Take | Kind::Accept) {
            self.drop_unopened(partition, pending.current, now);
            self.not_reached(now);
        } else {
            self.put_off(partition, None, now);
        }
    }

    /// Forgets a partition that was never opened here; `row` may still name this member.
    fn drop_unopened(&mut self, partition: &PartitionId, row: Lease, now: Instant) {
        self.owned.remove(partition);
        if row.owner.as_ref() != Some(&self.identity.owner) {
            return;
        }
        let (lease, since) = (row.clone(), now);
        self.table
            .rows
            .insert(partition.clone(), Row { lease, since });
        if self.ending.closing {
            self.let_row_go(row, now);
        } else {
            self.listings.hurry(now);
        }
    }

    /// Schedules another try with back-off after a failed call.
    pub(super) fn put_off(
        &mut self,
        partition: &PartitionId,
        pending: Option<Pending>,
        now: Instant,
    ) {
        self.not_reached(now);
        let most = self.identity.timings.renew_every / 2;
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        let ceiling = Duration::from_millis(100)
            .saturating_mul(1 << owned.retry.failures.min(16))
            .min(most);
        owned.retry.failures += 1;
        owned.retry.at = now + self.steps.rng.percent_of(ceiling, 50, 100);
        owned.pending = pending;
    }
}

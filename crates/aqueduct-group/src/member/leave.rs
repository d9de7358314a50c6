use std::time::Duration;

use aqueduct_core::{Instant, Lease, PartitionId, Revocation};

use super::{Command, Kind, Member, Owned, Row, Stop, Timings};

impl Owned {
    /// Returns when the partition counts as gone, regardless of the store: if the fate of a take is
    /// unknown, as long after it was sent first as it would be held.
    pub(super) fn ends(&self, closing: bool, timings: &Timings) -> Option<Instant> {
        let taking = self.pending.as_ref().filter(|_| closing);
        self.deadline
            .or_else(|| taking.map(|pending| pending.first_sent + timings.held()))
    }

    /// Whether only our name in its row is left.
    pub(super) fn is_let_go(&self) -> bool {
        let why = self.stop.as_ref().map(|stop| stop.why);
        why == Some(Revocation::Lost)
    }

    /// Allows `limit` to remove our name from its row.
    fn let_go(&mut self, limit: Duration, now: Instant) {
        self.deadline = Some(now + limit);
        self.stop = Some(Stop {
            why: Revocation::Lost,
            since: now,
            last: None,
        });
    }
}

impl Member {
    pub(super) fn on_close(&mut self, now: Instant, out: &mut Vec<Command>) {
        self.ending.closing = true;
        // A partition handed to a member that has left would wait for a whole ttl. The response shows
        // whether it was handed off before.
        for (partition, ask) in &mut self.asks.open {
            self.steps.ops += 1;
            ask.reading = Some(self.steps.ops);
            out.push(match self.table.rows.get(partition) {
                Some(row) => Command::Withdraw(row.lease.clone(), self.steps.ops),
                None => Command::Read(partition.clone(), self.steps.ops),
            });
        }
        // A take in progress may have succeeded: the partition is given up once that is known.
        let open = self.owned.iter().filter(|(_, it)| it.deadline.is_some());
        let open: Vec<_> = open.map(|(partition, _)| partition.clone()).collect();
        for partition in open {
            self.stop_one(&partition, now, out);
        }
        let named = |row: &&Row| row.lease.owner.as_ref() == Some(&self.identity.owner);
        let unowned = |row: &&Row| !self.owned.contains_key(&row.lease.partition);
        let rows = self.table.rows.values().filter(named).filter(unowned);
        let lost: Vec<_> = rows.map(|row| row.lease.clone()).collect();
        for row in lost {
            self.let_row_go(row, now);
        }
    }

    /// Withdraws a request that was granted while the member closes.
    pub(super) fn withdraw(&mut self, row: &Lease, out: &mut Vec<Command>) {
        self.steps.ops += 1;
        if let Some(ask) = self.asks.open.get_mut(&row.partition) {
            ask.reading = Some(self.steps.ops);
        }
        out.push(Command::Withdraw(row.clone(), self.steps.ops));
    }

    /// Removes our name from a row that we do not own: lost by us and not taken since, or handed
    /// off to us while we close. Otherwise it would have to expire.
    pub(super) fn let_row_go(&mut self, row: Lease, now: Instant) {
        let partition = row.partition.clone();
        let mut owned = Owned::new(row, now);
        owned.let_go(self.identity.timings.call_limit(), now);
        self.owned.insert(partition, owned);
    }

    /// Begins to give a partition up, because the member closes.
    pub(super) fn stop_one(
        &mut self,
        partition: &PartitionId,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let Some(owned) = self.owned.get_mut(partition) else {
            return;
        };
        match &mut owned.stop {
            Some(stop) => stop.since = now.min(stop.since),
            None => {
                owned.stop = Some(Stop {
                    why: Revocation::Shutdown,
                    since: now,
                    last: None,
                });
                out.push(Command::Drain(partition.clone(), Revocation::Shutdown));
            }
        }
    }

    /// Counts leases that were not renewed in time as lost, even if the store is unreachable.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Vec<Command>) {
        let closing = self.ending.closing;
        let is_over = |owned: &Owned| {
            let end = owned.ends(closing, &self.identity.timings);
            end.is_some_and(|end| end <= now)
        };
        let late: Vec<_> = self
            .owned
            .iter()
            .filter(|(_, owned)| is_over(owned))
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in late {
            if !closing {
                tracing::warn!(key = %self.identity.key, %partition, "lease not renewed in time: it counts as lost");
            } else if self.may_still_be_given_up(&partition, now, out) {
                continue;
            } else {
                tracing::warn!(key = %self.identity.key, %partition, "lease not given up in time: it expires by itself");
                self.ending.kept.insert(partition.clone());
            }
            self.lose(&partition, Revocation::Lost, now, out);
        }
    }

    /// Returns whether a partition may be given up after its lease expired, as after a process stood
    /// still: until another member takes it, the final write can succeed. It gets the time of one call,
    /// and a ttl to find out whether it did.
    fn may_still_be_given_up(
        &mut self,
        partition: &PartitionId,
        now: Instant,
        out: &mut Vec<Command>,
    ) -> bool {
        let (life, limit) = (
            self.identity.timings.life,
            self.identity.timings.call_limit(),
        );
        let Some(owned) = self.owned.get_mut(partition) else {
            return false;
        };
        let last = owned.pending.as_ref().filter(|it| it.kind == Kind::Last);
        if let Some(last) = last {
            let until = Some(last.first_sent + life).filter(|until| *until > now);
            owned.deadline = owned.deadline.max(until);
            return until.is_some();
        }
        if owned.deadline.is_none() || owned.is_let_go() {
            return false;
        }
        for flush in &mut self.ending.flushes {
            flush.lost |= flush.id > owned.flush.covered && flush.id <= owned.flush.wanted;
        }
        owned.flush.wanted = owned.flush.covered;
        owned.let_go(limit, now);
        out.push(Command::Gone(partition.clone(), Revocation::Lost));
        true
    }
}

use std::time::Duration;

use aqueduct_core::{
    Checkpoint, GroupRecord, Instant, Lease, PartitionId, ReadFrom, Result, Revocation, Swap,
};

use super::lineage::Lineage;
use super::{Ask, Command, Listing, Member, Row, Work};

impl Member {
    pub(super) fn on_listed(
        &mut self,
        answer: Result<Listing>,
        now: Instant,
        work: &mut dyn Work,
        out: &mut Vec<Command>,
    ) {
        let sent = self.listings.under_way.take().unwrap_or(now);
        let life = self.identity.timings.life;
        let rng = &mut self.steps.rng;
        let listing = match answer {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(key = %self.identity.key, %error, "partitions and leases not listed");
                self.listings.failed(life, now, rng);
                return;
            }
        };
        // While the store is unreachable no owner can renew: leases do not expire meanwhile, so
        // that an outage does not look like the crash of every owner (rule 5).
        let outage = self.listings.succeeded(life, now, rng);
        self.table.partitions = listing
            .partitions
            .into_iter()
            .map(|partition| (partition.id.clone(), partition))
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        for row in listing.leases {
            seen.insert(row.partition.clone());
            self.observe(row, sent, now, out);
        }
        let owned = &self.owned;
        self.table
            .rows
            .retain(|id, row| seen.contains(id) || row.since >= sent || owned.contains_key(id));
        for row in self.table.rows.values_mut() {
            row.since = now.min(row.since + outage);
        }
        self.create_missing(now, out);
        self.delete_ended(out);
        if !self.ending.closing {
            self.balance(now, work, out);
            self.ask_for_one(now, work, out);
        }
    }

    /// Records a row as returned by a call sent at `sent`.
    pub(super) fn observe(
        &mut self,
        row: Lease,
        sent: Instant,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let id = row.partition.clone();
        if let Some(known) = self.table.rows.get_mut(&id) {
            let order = (row.generation, row.counter);
            let known_order = (known.lease.generation, known.lease.counter);
            if order < known_order && sent <= known.since {
                return;
            }
            if order != known_order || row.owner != known.lease.owner {
                known.since = now;
            }
            known.lease = row.clone();
        } else {
            let lease = row.clone();
            self.table
                .rows
                .insert(id.clone(), Row { lease, since: now });
        }
        if let Some(owned) = self.owned.get_mut(&id) {
            if owned.deadline.is_some() {
                if row.generation > owned.lease.generation && owned.pending.is_none() {
                    self.lose(&id, Revocation::Lost, now, out);
                } else if row.generation == owned.lease.generation {
                    owned.lease.wanted_by = row.wanted_by;
                }
            }
            return;
        }
        let mine = Some(&self.identity.owner);
        if row.owner.as_ref() == mine {
            self.asks.open.remove(&id);
            match self.ending.closing {
                true => self.let_row_go(row, now),
                false => self.claim(row, now, out),
            }
        } else if !self.ending.closing
            && row.wanted_by.as_ref() == mine
            && !self.asks.open.contains_key(&id)
        {
            self.begin_ask(&row, now);
        }
    }

    pub(super) fn begin_ask(&mut self, row: &Lease, now: Instant) {
        let next_read = now
            + self
                .steps
                .rng
                .percent_of(self.identity.timings.renew_every, 20, 60);
        self.asks.open.insert(
            row.partition.clone(),
            Ask {
                since: now,
                generation: row.generation,
                next_read,
                reading: None,
            },
        );
    }

    /// Creates the leases of partitions that have none.
    fn create_missing(&mut self, now: Instant, out: &mut Vec<Command>) {
        if self.ending.closing || now < self.table.create_at {
            return;
        }
        let lineage = Lineage::new(&self.table.rows, &self.table.partitions);
        let missing: Vec<_> = self
            .table
            .partitions
            .keys()
            .filter(|id| !self.table.rows.contains_key(*id) && !self.table.creating.contains(*id))
            .filter(|id| !lineage.is_passed(id))
            .cloned()
            .collect();
        if missing.is_empty() {
            return;
        }
        if !self.table.group.fresh {
            if !std::mem::replace(&mut self.table.group.asking, true) {
                out.push(Command::Group);
            }
            return;
        }
        self.table.group.fresh = false;
        for id in missing {
            self.create(&id, &[], out);
        }
    }

    pub(super) fn create(
        &mut self,
        id: &PartitionId,
        parents: &[PartitionId],
        out: &mut Vec<Command>,
    ) {
        if !self.table.creating.insert(id.clone()) {
            return;
        }
        let start = self
            .table
            .group
            .record
            .start
            .partitions
            .iter()
            .find(|(named, _)| named == id)
            .map_or(Checkpoint::Start(ReadFrom::Earliest), |(_, start)| *start);
        let mut lease = Lease::new(id.clone(), start);
        lease.nonce = self.steps.rng.next_u64();
        lease.parents = parents.to_vec();
        if let Some(partition) = self.table.partitions.get(id) {
            lease.range = partition.range;
            for parent in &partition.parents {
                if !lease.parents.contains(parent) {
                    lease.parents.push(parent.clone());
                }
            }
        }
        out.push(Command::Create(lease));
    }

    pub(super) fn on_created(
        &mut self,
        partition: &PartitionId,
        answer: Result<Lease>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        self.table.creating.remove(partition);
        match answer {
            Ok(row) => {
                self.reached();
                self.observe(row, now, now, out);
                self.steps.balance_due |= self.table.creating.is_empty();
            }
            Err(error) => {
                tracing::warn!(key = %self.identity.key, %partition, %error, "lease not created");
                self.not_reached(now);
                self.table.create_at =
                    now + self.steps.rng.percent_of(Duration::from_secs(1), 50, 100);
                let again = self.table.create_at;
                self.listings.next = self.listings.next.min(again);
            }
        }
    }

    pub(super) fn on_group(
        &mut self,
        answer: Result<Option<GroupRecord>>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        self.table.group.asking = false;
        match answer {
            Ok(record) => {
                self.reached();
                if let Some(record) = record {
                    self.table.group.record = record;
                }
                self.table.group.fresh = true;
                self.create_missing(now, out);
            }
            Err(error) => {
                tracing::warn!(key = %self.identity.key, %error, "group record not read");
                self.not_reached(now);
            }
        }
    }

    /// Returns whether all children have leases; creates the missing ones.
    pub(super) fn has_children(
        &mut self,
        parent: &PartitionId,
        children: &[PartitionId],
        now: Instant,
        out: &mut Vec<Command>,
    ) -> bool {
        let life = self.identity.timings.life;
        let since = match self.owned.get_mut(parent) {
            Some(owned) => *owned.ended_since.get_or_insert(now),
            None => return false,
        };
        let mut complete = true;
        for child in children {
            if self.table.rows.contains_key(child) {
                continue;
            }
            complete = false;
            if now < self.table.create_at {
                continue;
            }
            // The listing knows the other parents of a merged partition.
            if self.table.partitions.contains_key(child) || now.since(since) > life {
                self.create(child, std::slice::from_ref(parent), out);
            } else {
                self.listings.hurry(now);
            }
        }
        complete
    }

    /// Deletes the leases of ended partitions that no member needs any more.
    fn delete_ended(&mut self, out: &mut Vec<Command>) {
        for lease in Lineage::new(&self.table.rows, &self.table.partitions).obsolete() {
            if self.table.deleting.insert(lease.partition.clone()) {
                out.push(Command::Delete(lease));
            }
        }
    }

    pub(super) fn on_deleted(
        &mut self,
        partition: &PartitionId,
        answer: Result<Swap>,
        now: Instant,
    ) {
        self.table.deleting.remove(partition);
        match answer {
            Ok(Swap::Swapped(_) | Swap::Lost(None)) => {
                self.table.rows.remove(partition);
                self.table.lost.remove(partition);
                self.asks.recent.remove(partition);
            }
            Ok(Swap::Lost(Some(_))) => {}
            Err(_) => self.not_reached(now),
        }
    }
}

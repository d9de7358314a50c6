use std::time::Duration;

use aqueduct_core::{
    Checkpoint, GroupRecord, Instant, Lease, PartitionId, ReadFrom, Result, Revocation, Swap,
};

use super::lineage::Lineage;
use super::{Ask, Call, Command, Listing, Member, Row, Work};

impl Member {
    pub(super) fn on_listed(
        &mut self,
        answer: Result<Listing>,
        now: Instant,
        work: &mut dyn Work,
        out: &mut Vec<Command>,
    ) {
        let sent = self.listing.take().unwrap_or(now);
        let listing = match answer {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(key = %self.key, %error, "partitions and leases not listed");
                self.health.failed(Call::Listing, now);
                let most = self.timings.life / 4;
                let ceiling = Duration::from_millis(200)
                    .saturating_mul(1 << self.list_failures.min(16))
                    .min(most);
                self.list_failures += 1;
                self.next_list = now + self.rng.share(ceiling, 50, 100);
                return;
            }
        };
        let failed = self.health.listing_fails();
        self.health.succeeded(Call::Listing);
        self.list_failures = 0;
        let every = self.timings.life / 2;
        self.next_list = now + self.rng.share(every, 80, 120);
        // While the store is away no owner can renew: a lease stands still without expiring, so that
        // an outage does not look like the crash of every owner (rule 5). A failed listing may have
        // been out of reach since the one before it.
        let blind = self
            .listed
            .map_or(Duration::ZERO, |listed| now.since(listed));
        let outage = match failed || blind > self.timings.life * 3 / 4 {
            true => blind,
            false => Duration::ZERO,
        };
        self.listed = Some(now);
        self.partitions = listing
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
        self.rows
            .retain(|id, row| seen.contains(id) || row.since >= sent || owned.contains_key(id));
        for row in self.rows.values_mut() {
            row.since = now.min(row.since + outage);
        }
        self.create_missing(now, out);
        self.delete_ended(out);
        if !self.closing {
            self.balance(now, work, out);
            self.ask_for_one(now, work, out);
        }
    }

    /// Takes note of a row as the store showed it to a call sent at `sent`.
    pub(super) fn observe(
        &mut self,
        row: Lease,
        sent: Instant,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let id = row.partition.clone();
        if let Some(known) = self.rows.get_mut(&id) {
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
            self.rows.insert(id.clone(), Row { lease, since: now });
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
        let mine = Some(&self.owner);
        if row.owner.as_ref() == mine {
            self.asks.remove(&id);
            match self.closing {
                true => self.let_row_go(row, now),
                false => self.claim(row, now, out),
            }
        } else if !self.closing && row.wanted_by.as_ref() == mine && !self.asks.contains_key(&id) {
            self.begin_ask(&row, now);
        }
    }

    pub(super) fn begin_ask(&mut self, row: &Lease, now: Instant) {
        let next_read = now + self.rng.share(self.timings.renew_every, 20, 60);
        self.asks.insert(
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
        if self.closing || now < self.create_at {
            return;
        }
        let lineage = Lineage::new(&self.rows, &self.partitions);
        let missing: Vec<_> = self
            .partitions
            .keys()
            .filter(|id| !self.rows.contains_key(*id) && !self.creating.contains(*id))
            .filter(|id| !lineage.is_passed(id))
            .cloned()
            .collect();
        if missing.is_empty() {
            return;
        }
        if !self.group_fresh {
            if !std::mem::replace(&mut self.asking_group, true) {
                out.push(Command::Group);
            }
            return;
        }
        self.group_fresh = false;
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
        if !self.creating.insert(id.clone()) {
            return;
        }
        let start = self
            .group
            .start
            .partitions
            .iter()
            .find(|(named, _)| named == id)
            .map_or(Checkpoint::Start(ReadFrom::Earliest), |(_, start)| *start);
        let mut lease = Lease::new(id.clone(), start);
        lease.nonce = self.rng.next();
        lease.parents = parents.to_vec();
        if let Some(partition) = self.partitions.get(id) {
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
        self.creating.remove(partition);
        match answer {
            Ok(row) => {
                self.reached();
                self.observe(row, now, now, out);
                self.balance_due |= self.creating.is_empty();
            }
            Err(error) => {
                tracing::warn!(key = %self.key, %partition, %error, "lease not created");
                self.not_reached(now);
                self.create_at = now + self.rng.share(Duration::from_secs(1), 50, 100);
                let again = self.create_at;
                self.next_list = self.next_list.min(again);
            }
        }
    }

    pub(super) fn on_group(
        &mut self,
        answer: Result<Option<GroupRecord>>,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        self.asking_group = false;
        match answer {
            Ok(record) => {
                self.reached();
                if let Some(record) = record {
                    self.group = record;
                }
                self.group_fresh = true;
                self.create_missing(now, out);
            }
            Err(error) => {
                tracing::warn!(key = %self.key, %error, "group record not read");
                self.not_reached(now);
            }
        }
    }

    /// Whether the leases of all children are there; creates those that are not.
    pub(super) fn has_children(
        &mut self,
        parent: &PartitionId,
        children: &[PartitionId],
        now: Instant,
        out: &mut Vec<Command>,
    ) -> bool {
        let life = self.timings.life;
        let since = match self.owned.get_mut(parent) {
            Some(owned) => *owned.ended_since.get_or_insert(now),
            None => return false,
        };
        let mut complete = true;
        for child in children {
            if self.rows.contains_key(child) {
                continue;
            }
            complete = false;
            if now < self.create_at {
                continue;
            }
            // The listing knows the other parents of a merged partition.
            if self.partitions.contains_key(child) || now.since(since) > life {
                self.create(child, std::slice::from_ref(parent), out);
            } else {
                self.hurry_list(now);
            }
        }
        complete
    }

    /// Deletes the leases of ended partitions that no member needs any more.
    fn delete_ended(&mut self, out: &mut Vec<Command>) {
        for lease in Lineage::new(&self.rows, &self.partitions).obsolete() {
            if self.deleting.insert(lease.partition.clone()) {
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
        self.deleting.remove(partition);
        match answer {
            Ok(Swap::Swapped(_) | Swap::Lost(None)) => {
                self.rows.remove(partition);
                self.lost.remove(partition);
                self.asked.remove(partition);
            }
            Ok(Swap::Lost(Some(_))) => {}
            Err(_) => self.not_reached(now),
        }
    }
}

use aqueduct_core::{Checkpoint, Lease, OwnerId, PartitionId};

use super::log::{Log, token_of};

/// Checks the rules as invariants over the whole run.
#[derive(Default)]
pub(super) struct Check {
    events: Vec<Fate>,
    /// How many events of each key have begun under an owner that was not fenced.
    begun: Vec<usize>,
    pub(super) seen: Seen,
    finished: usize,
}

/// The history of one event.
#[derive(Clone, Debug, Default)]
struct Fate {
    settled: bool,
    dead_letter: bool,
    /// Failed handler runs.
    nacked: u32,
    /// Processes that died while only this event ran in them.
    died: u32,
    /// Processes that died, or lost their lease, with its mark stored while it did not run: between
    /// mark and handler, or between handler and the write that takes the mark back.
    near: u32,
}

impl Fate {
    fn failed(&self) -> u32 {
        self.nacked + self.died
    }
}

/// How often each thing happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) starts: u64,
    pub(super) repeated: u64,
    pub(super) dead_letters: u64,
    pub(super) poison_letters: u64,
    pub(super) nacks: u64,
    pub(super) crashes: u64,
    pub(super) storms: u64,
    pub(super) innocent_letters: u64,
    pub(super) stalls: u64,
    pub(super) kills: u64,
    pub(super) outages: u64,
    pub(super) lost_leases: u64,
    pub(super) handovers: u64,
    pub(super) ended: u64,
    pub(super) deleted: u64,
    pub(super) isolated: u64,
    pub(super) conflicts: u64,
    pub(super) doubts: u64,
    pub(super) flushes: u64,
    pub(super) leaves: u64,
    pub(super) kept: u64,
    /// Takeovers without release.
    pub(super) unclean: u64,
    pub(super) near: u64,
    /// Requests for a hand-off that were taken back.
    pub(super) withdrawn: u64,
    /// Writes that changed an owner.
    pub(super) moves: u64,
}

impl Check {
    pub(super) fn new(keys: usize) -> Self {
        Self {
            begun: vec![0; keys],
            ..Self::default()
        }
    }

    pub(super) fn appended(&mut self) {
        self.events.push(Fate::default());
    }

    /// Notes that a handler starts, or that the layer above dead-letters the event instead.
    pub(super) fn starts(
        &mut self,
        log: &Log,
        event: usize,
        attempt: u32,
        fenced: bool,
    ) -> Result<(), String> {
        self.seen.starts += 1;
        let fate = &self.events[event];
        self.seen.repeated += u64::from(fate.settled);
        if attempt > fate.failed() + fate.near + 1 {
            return Err(format!(
                "event {event}: attempt {attempt} after {fate:?}: it is innocent"
            ));
        }
        if fenced {
            return Ok(());
        }
        let it = &log.events[event];
        let Some(key) = it.key else { return Ok(()) };
        if let Some(before) = log.keys[key][..it.in_key]
            .iter()
            .find(|before| !self.events[**before].settled)
        {
            return Err(format!(
                "key {key}: event {event} starts before event {before} is settled"
            ));
        }
        let begun = &mut self.begun[key];
        if it.in_key > *begun {
            return Err(format!(
                "key {key}: event {event} is number {} and starts after {begun}",
                it.in_key
            ));
        }
        *begun = (*begun).max(it.in_key + 1);
        Ok(())
    }

    /// Notes that a handler failed.
    pub(super) fn nacked(&mut self, event: usize) {
        self.events[event].nacked += 1;
    }

    /// Notes that the process died while only this event ran in it.
    pub(super) fn died(&mut self, event: usize) {
        self.events[event].died += 1;
    }

    /// Notes that its mark was left behind although it did not run.
    pub(super) fn nearly_ran(&mut self, event: usize) {
        self.seen.near += 1;
        self.events[event].near += 1;
    }

    pub(super) fn settled(&mut self, event: usize) {
        let fate = &mut self.events[event];
        self.finished += usize::from(!fate.settled);
        fate.settled = true;
    }

    pub(super) fn dead_letter(
        &mut self,
        log: &Log,
        event: usize,
        attempts: u32,
    ) -> Result<(), String> {
        let fate = &mut self.events[event];
        // Counted by what the scenario did, not by the marks. One death may come so close to a run
        // that no engine can tell: a mark is durable before its handler starts.
        if fate.failed() + 1 < attempts || fate.failed() == 0 {
            return Err(format!("event {event} became a dead letter after {fate:?}"));
        }
        if !std::mem::replace(&mut fate.dead_letter, true) {
            self.seen.dead_letters += 1;
            let innocent = fate.nacked == 0 && !log.events[event].poison;
            self.seen.innocent_letters += u64::from(innocent);
            self.seen.poison_letters += u64::from(log.events[event].poison);
        }
        Ok(())
    }

    /// Notes that a lease was written.
    pub(super) fn written(
        &mut self,
        log: &Log,
        before: &Lease,
        after: &Lease,
    ) -> Result<(), String> {
        let id = &after.partition;
        let settled_to = |checkpoint: Checkpoint| match checkpoint {
            Checkpoint::Start(_) => 0,
            Checkpoint::At(position) => position.sequence().unwrap_or(0) as usize,
            Checkpoint::End => usize::MAX,
        };
        let token = match after.checkpoint {
            Checkpoint::At(position) => Some(token_of(id, position)),
            Checkpoint::Start(_) | Checkpoint::End => None,
        };
        if after.resume_token != token {
            let (at, stored) = (after.checkpoint, &after.resume_token);
            return Err(format!(
                "{id}: the checkpoint {at} is stored with {stored:?}"
            ));
        }
        let (from, to) = (settled_to(before.checkpoint), settled_to(after.checkpoint));
        if to < from {
            return Err(format!("{id}: the checkpoint fell from {from} to {to}"));
        }
        let partition = &log.partitions[id];
        if after.checkpoint == Checkpoint::End && !partition.closed {
            return Err(format!("{id}: it is open and settled to its end"));
        }
        let events = &partition.events;
        for event in &events[from.min(events.len())..to.min(events.len())] {
            if !self.events[*event].settled {
                return Err(format!("{id}: event {event} is committed and not settled"));
            }
        }
        self.seen.handovers +=
            u64::from(before.wanted_by.is_some() && after.owner == before.wanted_by);
        self.seen.ended += u64::from(from != to && after.checkpoint == Checkpoint::End);
        Ok(())
    }

    /// Checks that an owner gives a partition only to a member that asks for it: one that has withdrawn
    /// its request leaves, and the partition would wait for a whole ttl.
    pub(super) fn handed_off(
        &self,
        writer: &OwnerId,
        before: &Lease,
        after: &Lease,
    ) -> Result<(), String> {
        let by_owner = before.owner.as_ref() == Some(writer) && before.owner != after.owner;
        if by_owner && after.owner.is_some() && after.owner != before.wanted_by {
            return Err(format!("{writer} hands {before:?} to {:?}", after.owner));
        }
        Ok(())
    }

    /// Checks that no two members believe they own the same partition.
    pub(super) fn owned_once(
        &self,
        id: &PartitionId,
        owner: &OwnerId,
        others: impl Iterator<Item = OwnerId>,
    ) -> Result<(), String> {
        match others.into_iter().find(|other| other != owner) {
            None => Ok(()),
            Some(other) => Err(format!("{id}: {owner} and {other} both own it")),
        }
    }

    /// Checks that one crash counts against at most one event of a member.
    pub(super) fn one_alone<'a, T: 'a>(
        &self,
        alone: impl Iterator<Item = (&'a PartitionId, T)>,
    ) -> Result<(), String> {
        let alone: Vec<_> = alone.map(|(id, _)| id.to_string()).collect();
        match alone.len() {
            0 | 1 => Ok(()),
            _ => Err(format!("{alone:?}: each has an event that runs alone")),
        }
    }

    pub(super) fn is_all_settled(&self) -> bool {
        self.finished == self.events.len()
    }

    pub(super) fn unsettled(&self) -> Vec<usize> {
        let events = self.events.iter().enumerate();
        events
            .filter(|(_, fate)| !fate.settled)
            .map(|(event, _)| event)
            .collect()
    }

    pub(super) fn poison_is_buried(&self, log: &Log) -> bool {
        let all = log.events.iter().zip(&self.events);
        all.filter(|(event, _)| event.poison)
            .all(|(_, fate)| fate.dead_letter)
    }
}

impl Seen {
    fn all(&mut self) -> [(&'static str, &mut u64); 23] {
        [
            ("starts", &mut self.starts),
            ("repeated", &mut self.repeated),
            ("dead_letters", &mut self.dead_letters),
            ("poison_letters", &mut self.poison_letters),
            ("nacks", &mut self.nacks),
            ("crashes", &mut self.crashes),
            ("storms", &mut self.storms),
            ("stalls", &mut self.stalls),
            ("kills", &mut self.kills),
            ("outages", &mut self.outages),
            ("lost_leases", &mut self.lost_leases),
            ("handovers", &mut self.handovers),
            ("ended", &mut self.ended),
            ("deleted", &mut self.deleted),
            ("isolated", &mut self.isolated),
            ("conflicts", &mut self.conflicts),
            ("doubts", &mut self.doubts),
            ("flushes", &mut self.flushes),
            ("leaves", &mut self.leaves),
            ("kept", &mut self.kept),
            ("unclean", &mut self.unclean),
            ("withdrawn", &mut self.withdrawn),
            ("moves", &mut self.moves),
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, mine), (_, theirs)) in self.all().into_iter().zip(other.all()) {
            *mine += *theirs;
        }
        self.innocent_letters += other.innocent_letters;
        self.near += other.near;
    }

    pub(super) fn assert_everything_happened(&mut self) {
        for (what, count) in self.all() {
            assert!(*count > 0, "no {what} in any seed");
        }
    }
}

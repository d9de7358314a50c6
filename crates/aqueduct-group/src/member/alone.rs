use std::time::Duration;

use aqueduct_core::{Instant, PartitionId};

use super::{Member, Snapshot, Work};

/// A mark is removed if no receiver takes its event within this time.
pub(super) const CLAIM_WITHIN: Duration = Duration::from_millis(250);

/// How many drain times an event may run alone: longer than handlers take, including those that
/// exhaust the memory slowly.
const RUNS_FOR: u32 = 10;

/// The partition whose event runs alone: one at a time, so that a crash counts against one event.
#[derive(Debug)]
pub(super) struct Alone {
    current: Option<Suspect>,
    /// The partition that had the turn last: the next in order comes first. A start draws where to
    /// begin, so that rapid restarts do not meet the same event each time.
    last: Result<PartitionId, u64>,
}

#[derive(Debug)]
struct Suspect {
    partition: PartitionId,
    /// When it last progressed: the process became quiet, or a receiver took its event.
    since: Instant,
    /// When it began to wait for a quiet process, or to run in it.
    began: Instant,
    marked: bool,
}

impl Alone {
    pub(super) fn new(drawn: u64) -> Self {
        Self {
            current: None,
            last: Err(drawn),
        }
    }

    pub(super) fn is_taken(&self) -> bool {
        self.current.is_some()
    }

    /// Returns which of the sorted partitions comes first.
    pub(super) fn first(&self, partitions: &[PartitionId]) -> usize {
        match &self.last {
            Ok(last) => partitions.partition_point(|partition| partition <= last),
            Err(drawn) => (drawn % partitions.len().max(1) as u64) as usize,
        }
    }

    /// Chooses what the partition tries next, once a receiver waits for it.
    fn choose(
        &mut self,
        partition: &PartitionId,
        drain: Duration,
        now: Instant,
        work: &mut dyn Work,
    ) -> Option<Snapshot> {
        let other = |it: &Suspect| it.partition != *partition;
        if self.current.as_ref().is_some_and(other) {
            return None;
        }
        if !work.needs_alone(partition) {
            if self.current.take_if(|it| !it.marked).is_some() {
                // It waited to run an event alone, and other partitions now go first.
                work.release();
            }
            // A crash in a batch counts against no event, so it needs no quiet process.
            return work.mark(partition, false);
        }
        let suspect = self.current.get_or_insert_with(|| Suspect {
            partition: partition.clone(),
            since: now,
            began: now,
            marked: false,
        });
        suspect.since = now;
        // "Alone" means alone in the process (rule 5): nothing new is handed out anywhere, and what
        // runs is waited for.
        let quiet = work.quiet();
        if !quiet && now < suspect.began + drain {
            return None;
        }
        suspect.marked = quiet;
        suspect.began = now;
        self.last = Ok(partition.clone());
        let marked = work.mark(partition, quiet);
        if !quiet || marked.as_ref().is_none_or(|marked| !marked.alone) {
            // A handler that does not end must not keep the process quiet for ever: the suspect
            // runs beside it, and a crash counts against no event.
            self.current = None;
            work.release();
        }
        marked
    }

    /// Ends the turn of an event that is settled or gone, or that no receiver comes for.
    pub(super) fn look_after(&mut self, drain: Duration, now: Instant, work: &mut dyn Work) {
        let Some(suspect) = &mut self.current else {
            return;
        };
        let snapshot = work.snapshot(&suspect.partition);
        let over = match &snapshot {
            None => true,
            // Until its mark is taken back durably, a crash by another event would count against it.
            Some(snapshot) if suspect.marked => !snapshot.alone && !snapshot.marked,
            Some(_) => false,
        };
        let waits = match &snapshot {
            Some(snapshot) if suspect.marked => snapshot.unclaimed,
            Some(snapshot) => !snapshot.wants_mark,
            None => false,
        };
        if !waits {
            suspect.since = now;
        }
        let unclaimed = waits && now >= suspect.since + CLAIM_WITHIN;
        if unclaimed && suspect.marked {
            work.withdraw(&suspect.partition);
        }
        let endless = suspect.marked && now >= suspect.began + drain * RUNS_FOR;
        if endless && !over && !unclaimed {
            // A handler that hangs must not stop the process: other events run beside it, once its mark
            // no longer counts.
            work.keep_company(&suspect.partition);
        }
        if over || unclaimed && !suspect.marked {
            self.current = None;
            work.release();
        }
    }
}

impl Member {
    /// Puts the next suspects of the partition on trial, if it is its turn; returns the state of
    /// the partition after that.
    pub(super) fn try_suspects(
        &mut self,
        partition: &PartitionId,
        snapshot: Option<Snapshot>,
        now: Instant,
        work: &mut dyn Work,
    ) -> Option<Snapshot> {
        let every = self.identity.timings.commit_interval;
        // Two writes, the mark and its removal: do not begin unless both are allowed.
        let Some(owned) = self.owned.get_mut(partition) else {
            return snapshot;
        };
        match snapshot {
            Some(snapshot)
                if snapshot.wants_mark && owned.writes.allowance.allows(2, every, now) =>
            {
                let too_early = now < owned.writes.alone_from;
                if too_early && work.needs_alone(partition) {
                    return Some(snapshot);
                }
                let chosen = self
                    .alone
                    .choose(partition, self.identity.timings.drain, now, work);
                Some(chosen.unwrap_or(snapshot))
            }
            snapshot => snapshot,
        }
    }
}

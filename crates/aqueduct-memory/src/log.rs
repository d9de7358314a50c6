use aqueduct_core::outcomes::SendOutcomes;
use aqueduct_core::{
    Error, Event, HashRange, Limits, PartitionId, Position, Receipt, SendReport, StreamId,
    StreamName, Timestamp,
};

use crate::config::Settings;
use crate::partition::PartitionLog;
use crate::ranges::{Ranges, reshape, split_evenly};
use aqueduct_core::hash::hash_key;

/// The events of one stream. Every change happens under the stream's lock, one batch at a time.
pub(crate) struct Log {
    pub(crate) settings: Settings,
    pub(crate) created: Timestamp,
    pub(crate) id: StreamId,
    /// Distinguishes this log from one that was created later under the same name.
    pub(crate) incarnation: u64,
    pub(crate) ranges: Ranges,
    partitions: Vec<PartitionLog>,
    round_robin: usize,
    clock: Timestamp,
}

/// Decides the outcome of an event.
pub(crate) enum Verdict {
    Store,
    Fail(Error),
    /// Stores the event and loses its response.
    StoreAndFail(Error),
}

impl Log {
    pub(crate) fn new(
        settings: Settings,
        created: Timestamp,
        id: StreamId,
        incarnation: u64,
    ) -> Self {
        let mut log = Self {
            settings,
            created,
            id,
            incarnation,
            ranges: Ranges::default(),
            partitions: Vec::new(),
            round_robin: 0,
            clock: created,
        };
        for range in split_evenly(settings.partitions) {
            log.add_partition(range, Vec::new());
        }
        log.find_ranges();
        log
    }

    /// Stores the events that `judge` accepts, in order. After a failed event, later events of its key
    /// are not stored (prefix rule).
    pub(crate) fn append(
        &mut self,
        stream: &StreamName,
        events: &[Event],
        now: Timestamp,
        mut judge: impl FnMut(&Event) -> Verdict,
    ) -> SendReport {
        self.clock = self.clock.max(now);
        let limits = Limits {
            event_bytes: Some(self.settings.max_event_bytes),
            ..Limits::default()
        };
        let mut outcomes = SendOutcomes::new(events.len());
        for (index, event) in events.iter().enumerate() {
            if !outcomes.admit(index, event.key()) {
                continue;
            }
            let size = event.approximate_size();
            let verdict = match limits.check_event(event, size) {
                Ok(()) => judge(event),
                Err(error) => {
                    Verdict::Fail(error.context(format_args!("memory:{stream}, max_event_bytes")))
                }
            };
            let outcome = match verdict {
                Verdict::Store => Ok(self.push(event, size)),
                Verdict::Fail(error) => Err(error),
                Verdict::StoreAndFail(error) => {
                    self.push(event, size);
                    Err(error)
                }
            };
            outcomes.settle(index, event.key(), outcome);
        }
        self.settle_touched();
        outcomes.into_report()
    }

    fn push(&mut self, event: &Event, size: usize) -> Receipt {
        let at = match event.key() {
            Some(key) => self.ranges.find(hash_key(key)),
            // Round robin balances events without a key to within one event.
            None => {
                self.round_robin = self.round_robin.wrapping_add(1);
                self.ranges.nth(self.round_robin)
            }
        };
        let partition = &mut self.partitions[at];
        let position = partition.push(event, self.clock, size);
        Receipt::at(partition.id.clone(), Position::new(position))
    }

    /// Trims the partitions that a batch was stored in, and wakes their readers.
    fn settle_touched(&mut self) {
        let most = self.settings.max_events;
        for &at in self.ranges.partitions() {
            let partition = &mut self.partitions[at];
            partition.settle(most);
        }
        self.expire(self.clock);
    }

    /// Removes events that are older than the retention.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let Some(retention) = self.settings.retention else {
            return;
        };
        let before = now.saturating_sub(retention);
        for partition in &mut self.partitions {
            while partition.oldest().is_some_and(|at| at < before) {
                partition.drop_oldest(1);
            }
            if partition.closed.is_some_and(|at| at < before) && partition.is_empty() {
                partition.forgotten = true;
            }
        }
    }

    /// Splits or merges until `count` partitions are open.
    pub(crate) fn reshard(&mut self, count: u32, now: Timestamp) {
        self.clock = self.clock.max(now);
        for piece in reshape(self.open_ranges(), count as usize) {
            if piece.kept {
                continue;
            }
            let parents: Vec<PartitionId> = piece
                .parents
                .iter()
                .map(|&at| self.partitions[at].id.clone())
                .collect();
            let child = self.add_partition(piece.range, parents);
            for at in piece.parents {
                self.partitions[at].children.push(child.clone());
                self.partitions[at].closed = Some(self.clock);
            }
        }
        self.find_ranges();
        self.wake_all();
    }

    pub(crate) fn wake_all(&self) {
        for partition in &self.partitions {
            partition.signal.notify(usize::MAX);
        }
    }

    /// Returns the listed partitions, closed ones too.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &PartitionLog> {
        self.partitions.iter().filter(|it| !it.forgotten)
    }

    pub(crate) fn find(&self, id: &PartitionId) -> Option<usize> {
        self.partitions
            .iter()
            .position(|it| it.id == *id && !it.forgotten)
    }

    pub(crate) fn partition(&self, at: usize) -> &PartitionLog {
        &self.partitions[at]
    }

    pub(crate) fn partition_mut(&mut self, at: usize) -> &mut PartitionLog {
        &mut self.partitions[at]
    }

    pub(crate) fn partitions_mut(&mut self) -> impl Iterator<Item = &mut PartitionLog> {
        self.partitions.iter_mut()
    }

    fn add_partition(&mut self, range: HashRange, parents: Vec<PartitionId>) -> PartitionId {
        let id = PartitionId::from(self.partitions.len().to_string());
        self.partitions
            .push(PartitionLog::new(id.clone(), range, parents));
        id
    }

    fn open_ranges(&self) -> Vec<(HashRange, usize)> {
        let open = self
            .partitions
            .iter()
            .enumerate()
            .filter(|(_, it)| it.closed.is_none());
        open.map(|(at, it)| (it.range, at)).collect()
    }

    fn find_ranges(&mut self) {
        self.ranges = Ranges::new(self.open_ranges());
    }
}

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::{
    Error, Event, GroupName, HashRange, Partition, PartitionId, PartitionState, Position, Receipt,
    Result, StreamName, Timestamp,
};
use event_listener::Event as Signal;

use crate::config::Settings;
use crate::error;
use crate::hash::hash_key;
use crate::ranges::{Ranges, reshape, split_evenly};

/// The events of one stream. Everything happens under its stream's lock, a batch at a time.
pub(crate) struct Log {
    pub(crate) settings: Settings,
    pub(crate) created: Timestamp,
    /// Tells this log from one that was made later under the same name.
    pub(crate) incarnation: u64,
    pub(crate) ranges: Ranges,
    partitions: Vec<PartitionLog>,
    round_robin: usize,
    clock: Timestamp,
}

/// The events of one partition. Positions are dense and start at 1.
pub(crate) struct PartitionLog {
    pub(crate) id: PartitionId,
    pub(crate) range: HashRange,
    pub(crate) parents: Vec<PartitionId>,
    pub(crate) children: Vec<PartitionId>,
    pub(crate) closed: Option<Timestamp>,
    /// Closed, empty by retention, and out of the listing.
    pub(crate) forgotten: bool,
    pub(crate) records: VecDeque<Stored>,
    /// The position of the next event.
    pub(crate) next: u64,
    pub(crate) signal: Arc<Signal>,
    readers: Vec<Reader>,
    touched: bool,
}

/// An event, when it came, and about how many bytes it has.
pub(crate) struct Stored {
    pub(crate) event: Event,
    pub(crate) at: Timestamp,
    pub(crate) size: usize,
}

struct Reader {
    group: GroupName,
    generation: u64,
    displaced: Arc<AtomicBool>,
}

/// What shall become of an event.
pub(crate) enum Verdict {
    Store,
    Fail(Error),
    /// Stored, and its answer lost.
    StoreAndFail(Error),
}

impl Log {
    pub(crate) fn new(settings: Settings, created: Timestamp, incarnation: u64) -> Self {
        let mut log = Self {
            settings,
            created,
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

    /// Stores what `judge` lets pass, in order, and keeps the prefix rule.
    pub(crate) fn append(
        &mut self,
        stream: &StreamName,
        events: &[Event],
        now: Timestamp,
        mut judge: impl FnMut(&Event) -> Verdict,
    ) -> Vec<Result<Receipt>> {
        self.clock = self.clock.max(now);
        let limit = self.settings.max_event_bytes;
        let mut outcomes = Vec::with_capacity(events.len());
        let mut blocked: BTreeSet<&str> = BTreeSet::new();
        for event in events {
            if !blocked.is_empty() && event.key().is_some_and(|key| blocked.contains(key)) {
                outcomes.push(Err(error::blocked(stream)));
                continue;
            }
            let size = event.approximate_size();
            let verdict = if size > limit {
                Verdict::Fail(error::too_large(stream, size, limit))
            } else {
                judge(event)
            };
            let outcome = match verdict {
                Verdict::Store => Ok(self.push(event, size)),
                Verdict::Fail(error) => Err(error),
                Verdict::StoreAndFail(error) => {
                    self.push(event, size);
                    Err(error)
                }
            };
            if let (Err(_), Some(key)) = (&outcome, event.key()) {
                blocked.insert(key);
            }
            outcomes.push(outcome);
        }
        self.settle_touched();
        outcomes
    }

    fn push(&mut self, event: &Event, size: usize) -> Receipt {
        let at = match event.key() {
            Some(key) => self.ranges.find(hash_key(key)),
            // Round robin: no partition gets more than one event more than another.
            None => {
                self.round_robin = self.round_robin.wrapping_add(1);
                self.ranges.nth(self.round_robin)
            }
        };
        let partition = &mut self.partitions[at];
        let position = partition.next;
        partition.next += 1;
        partition.touched = true;
        partition.records.push_back(Stored {
            event: event.clone(),
            at: self.clock,
            size,
        });
        Receipt::at(partition.id.clone(), Position::new(position))
    }

    /// Trims the partitions that a batch went to, and wakes their readers.
    fn settle_touched(&mut self) {
        let most = self.settings.max_events;
        for &at in self.ranges.partitions() {
            let partition = &mut self.partitions[at];
            if std::mem::take(&mut partition.touched) {
                let surplus = partition.records.len().saturating_sub(most);
                partition.drop_oldest(surplus);
                partition.signal.notify(usize::MAX);
            }
        }
        self.expire(self.clock);
    }

    /// Removes what is older than the retention.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let Some(retention) = self.settings.retention else {
            return;
        };
        let before = now.saturating_sub(retention);
        for partition in &mut self.partitions {
            while partition.records.front().is_some_and(|it| it.at < before) {
                partition.drop_oldest(1);
            }
            if partition.closed.is_some_and(|closed| closed < before)
                && partition.records.is_empty()
            {
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

    /// The partitions that are listed, closed ones too.
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
        self.partitions.push(PartitionLog {
            id: id.clone(),
            range,
            parents,
            children: Vec::new(),
            closed: None,
            forgotten: false,
            records: VecDeque::new(),
            next: 1,
            signal: Arc::default(),
            readers: Vec::new(),
            touched: false,
        });
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

impl PartitionLog {
    /// The first position kept; the next one where nothing is.
    pub(crate) fn first(&self) -> u64 {
        self.next - self.records.len() as u64
    }

    /// The last position written.
    pub(crate) fn last(&self) -> Option<Position> {
        (self.next > 1).then(|| Position::new(self.next - 1))
    }

    /// The position of the first event stored at or after `time`.
    pub(crate) fn first_since(&self, time: Timestamp) -> Option<u64> {
        let before = self.records.partition_point(|it| it.at < time);
        (before < self.records.len()).then(|| self.first() + before as u64)
    }

    /// The records from `position` on, which must not be below the first.
    pub(crate) fn records_from(&self, position: u64) -> impl Iterator<Item = (u64, &Stored)> {
        let skip = (position.saturating_sub(self.first()) as usize).min(self.records.len());
        (position..).zip(self.records.range(skip..))
    }

    pub(crate) fn drop_oldest(&mut self, count: usize) {
        self.records.drain(..count.min(self.records.len()));
    }

    pub(crate) fn describe(&self) -> Partition {
        let mut partition = Partition::new(self.id.clone());
        if self.closed.is_some() {
            partition.state = PartitionState::Closed;
        }
        partition.parents = self.parents.clone();
        partition.range = Some(self.range);
        partition.earliest = (!self.records.is_empty()).then(|| Position::new(self.first()));
        partition
    }

    /// Takes note of a reader and displaces those of a lower generation. `None` where one of a
    /// higher generation is there.
    pub(crate) fn admit(&mut self, group: &GroupName, generation: u64) -> Option<Arc<AtomicBool>> {
        let peers = || self.readers.iter().filter(|it| it.group == *group);
        if peers().any(|it| it.generation > generation) {
            return None;
        }
        for peer in peers().filter(|it| it.generation < generation) {
            peer.displaced.store(true, Ordering::Relaxed);
        }
        let displaced = Arc::new(AtomicBool::new(false));
        self.readers.push(Reader {
            group: group.clone(),
            generation,
            displaced: displaced.clone(),
        });
        self.signal.notify(usize::MAX);
        Some(displaced)
    }

    pub(crate) fn dismiss(&mut self, reader: &Arc<AtomicBool>) {
        self.readers
            .retain(|it| !Arc::ptr_eq(&it.displaced, reader));
    }
}

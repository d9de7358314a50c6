use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::{
    Event, GroupName, HashRange, Partition, PartitionId, PartitionState, Position, Timestamp,
};
use event_listener::Event as Signal;

/// The events of one partition. Positions are dense and start at 1.
pub(crate) struct PartitionLog {
    pub(crate) id: PartitionId,
    pub(crate) range: HashRange,
    pub(crate) parents: Vec<PartitionId>,
    pub(crate) children: Vec<PartitionId>,
    pub(crate) closed: Option<Timestamp>,
    /// Closed, emptied by retention, and no longer listed.
    pub(crate) forgotten: bool,
    records: VecDeque<Stored>,
    /// The position of the next event.
    pub(crate) next: u64,
    pub(crate) signal: Arc<Signal>,
    readers: Vec<Reader>,
    touched: bool,
}

/// An event, the time it was stored, and its approximate size in bytes.
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

impl PartitionLog {
    pub(crate) fn new(id: PartitionId, range: HashRange, parents: Vec<PartitionId>) -> Self {
        Self {
            id,
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
        }
    }

    /// Stores an event and returns its position.
    pub(crate) fn push(&mut self, event: &Event, at: Timestamp, size: usize) -> u64 {
        let position = self.next;
        self.next += 1;
        self.touched = true;
        self.records.push_back(Stored {
            event: event.clone(),
            at,
            size,
        });
        position
    }

    /// Ends a batch: trims to at most `most` events, and wakes the readers if it stored any.
    pub(crate) fn settle(&mut self, most: usize) {
        if std::mem::take(&mut self.touched) {
            self.drop_oldest(self.records.len().saturating_sub(most));
            self.signal.notify(usize::MAX);
        }
    }

    /// Returns whether no event is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns when the oldest kept event was stored.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.records.front().map(|it| it.at)
    }

    /// Returns when the newest kept event was stored.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.records.back().map(|it| it.at)
    }

    /// Returns the first position kept; the next one to be written if none is.
    pub(crate) fn first(&self) -> u64 {
        self.next - self.records.len() as u64
    }

    /// Returns the last position written.
    pub(crate) fn last(&self) -> Option<Position> {
        (self.next > 1).then(|| Position::new(self.next - 1))
    }

    /// Returns the position of the first event stored at or after `time`.
    pub(crate) fn first_since(&self, time: Timestamp) -> Option<u64> {
        let before = self.records.partition_point(|it| it.at < time);
        (before < self.records.len()).then(|| self.first() + before as u64)
    }

    /// Returns the records from `position` on, which must not be below the first.
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

    /// Registers a reader and displaces those of a lower generation. `None` if one of a higher
    /// generation is registered.
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

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use event_listener::Event as Signal;
use rusqlite::Connection;

/// Wakes readers when their partition grew, was closed or was removed.
///
/// The writer reports its own commits, the poller those of other processes.
#[derive(Default)]
pub(crate) struct Notifier {
    state: Mutex<State>,
    subscribed: Condvar,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<i64, Weak<PartitionSignal>>,
    closed: bool,
}

/// The end of one partition, as last seen.
pub(crate) struct PartitionSignal {
    /// The next position; negative once the partition takes no more events.
    seen: AtomicI64,
    pub(crate) signal: Signal,
}

const CLOSED: i64 = i64::MIN;

impl Notifier {
    pub(crate) fn subscribe(&self, partition: i64) -> Arc<PartitionSignal> {
        let mut state = self.lock();
        if let Some(signal) = state.partitions.get(&partition).and_then(Weak::upgrade) {
            return signal;
        }
        let signal = Arc::new(PartitionSignal {
            seen: AtomicI64::new(0),
            signal: Signal::new(),
        });
        state.partitions.insert(partition, Arc::downgrade(&signal));
        drop(state);
        self.subscribed.notify_all();
        signal
    }

    /// Reports that positions below `next` are stored.
    pub(crate) fn grown(&self, partition: i64, next: i64) {
        let signal = self
            .lock()
            .partitions
            .get(&partition)
            .and_then(Weak::upgrade);
        if let Some(signal) = signal {
            signal.moved(next);
        }
    }

    /// Reads every partition and wakes the readers of those that changed.
    pub(crate) fn refresh(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut select = connection
            .prepare_cached("SELECT id, next, closed IS NOT NULL FROM aqueduct_partition")?;
        let mut stored = BTreeMap::new();
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let closed: bool = row.get(2)?;
            stored.insert(
                row.get::<_, i64>(0)?,
                if closed { CLOSED } else { row.get(1)? },
            );
        }
        for (partition, signal) in self.live() {
            signal.moved(stored.get(&partition).copied().unwrap_or(CLOSED));
        }
        Ok(())
    }

    /// Waits until there is a reader; returns `false` once closed.
    pub(crate) fn wait_for_reader(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed {
                return false;
            }
            state
                .partitions
                .retain(|_, signal| signal.strong_count() > 0);
            if !state.partitions.is_empty() {
                return true;
            }
            state = self
                .subscribed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.subscribed.notify_all();
    }

    /// Wakes every reader, so that each learns that the file can no longer be used.
    pub(crate) fn wake_all(&self) {
        for (_, partition) in self.live() {
            partition.signal.notify(usize::MAX);
        }
    }

    fn live(&self) -> Vec<(i64, Arc<PartitionSignal>)> {
        let state = self.lock();
        let live = state.partitions.iter();
        live.filter_map(|(id, signal)| Some((*id, signal.upgrade()?)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartitionSignal {
    /// Returns what was last seen of the partition's end: unchanged, nothing was added since.
    pub(crate) fn seen(&self) -> i64 {
        self.seen.load(Ordering::Acquire)
    }

    fn moved(&self, seen: i64) {
        if self.seen.swap(seen, Ordering::AcqRel) != seen {
            self.signal.notify(usize::MAX);
        }
    }
}

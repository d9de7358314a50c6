mod fault;
mod plan;

use std::fmt;
use std::sync::Arc;

use aqueduct_core::{Event, OwnerId, PartitionId, Result};

pub use self::fault::{Applied, MemoryFault};
pub(crate) use self::plan::Plan;
use self::plan::{Arranged, Pick};
use crate::error;
use crate::stream::Stream;

/// Injects faults into one stream: a handle that tests keep beside the client.
///
/// Probabilities are drawn from the [`Runtime`](aqueduct_core::Runtime) of the caller, so they are
/// determined by the seed in a simulation. Without faults, the cost is one branch per call.
///
/// ```
/// use aqueduct_core::ErrorKind;
/// use aqueduct_memory::{Applied, MemoryFault, MemoryBackend, Operation};
/// use std::time::Duration;
///
/// let backend = MemoryBackend::new();
/// let faults = backend.faults("orders");
/// faults.next(Operation::Send, 3, MemoryFault::throttled(Duration::from_millis(50)));
/// faults.chance(Operation::LeaseWrite, 0.05, MemoryFault::lost_response(Applied::Maybe));
/// faults.fail_events(1, MemoryFault::refused(ErrorKind::Unavailable), |event| event.key() == Some("VINET"));
/// ```
#[derive(Clone)]
pub struct MemoryFaults(Arc<Stream>);

/// The kind of call that a fault applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a resource or a partition.
    Open,
    /// A whole `send_batch`.
    Send,
    /// A read of a partition; a waiting read fails at once.
    Read,
    /// Listing partitions, resolving a start, reading a tail, and administration.
    Describe,
    /// Reading leases and group records.
    LeaseRead,
    /// Writing leases and group records.
    LeaseWrite,
    /// Any call of the idempotency store.
    Idempotency,
    /// Any call of the dead letters.
    DeadLetterStore,
}

impl MemoryFaults {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        Self(stream)
    }

    /// Applies `fault` to the next `count` calls of that kind, after those already scheduled.
    pub fn next(&self, operation: Operation, count: u64, fault: MemoryFault) {
        self.arrange(|state| {
            let next = state.next.entry(operation).or_default();
            next.push_back((count, fault));
        });
    }

    /// Applies `fault` to every call of that kind with that probability (0 to 1), until cleared.
    pub fn chance(&self, operation: Operation, probability: f64, fault: MemoryFault) {
        self.arrange(|state| state.chances.push((operation, probability, fault)));
    }

    /// Fails each of the next `count` events that `matches` selects. The rest of the batch is stored,
    /// except later events of the same key.
    pub fn fail_events(
        &self,
        count: u64,
        fault: MemoryFault,
        matches: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) {
        let pick = Pick::Matching(count, Box::new(matches));
        self.arrange(|state| state.events.push((pick, fault)));
    }

    /// Fails each event on its own with that probability (0 to 1), until cleared.
    pub fn fail_events_by_chance(&self, probability: f64, fault: MemoryFault) {
        self.arrange(|state| state.events.push((Pick::Chance(probability), fault)));
    }

    /// Denies or restores access: while denied, every call returns `Denied`.
    pub fn deny(&self, denied: bool) {
        self.arrange(|state| state.denied = denied);
    }

    /// Clears every scheduled fault; effects of past faults remain.
    pub fn clear(&self) {
        self.arrange(|state| {
            *state = Arranged {
                hits: std::mem::take(&mut state.hits),
                ..Arranged::default()
            };
        });
    }

    /// Returns how many calls of that kind were hit by a fault. Faults of single events count as `Send`.
    pub fn hits(&self, operation: Operation) -> u64 {
        let state = self.0.plan.lock();
        state.hits.get(&operation).copied().unwrap_or(0)
    }

    /// Cuts the connection of every open reader: its current read, otherwise its next one, returns
    /// `Unavailable` once.
    pub fn cut_readers(&self) {
        self.0.plan.cut();
        self.wake_readers();
    }

    /// Removes the `count` oldest events of a partition, as retention does.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream or partition.
    pub fn drop_oldest(&self, partition: &PartitionId, count: usize) -> Result<()> {
        self.0.with_log(|log| match log.find(partition) {
            Some(at) => {
                log.partition_mut(at).drop_oldest(count);
                Ok(())
            }
            None => Err(error::no_partition(&self.0.name, partition)),
        })
    }

    /// Removes every stored event, as retention does; closed partitions are no longer listed.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream.
    pub fn expire_all(&self) -> Result<()> {
        self.0.with_log(|log| {
            for partition in log.partitions_mut() {
                partition.drop_oldest(usize::MAX);
                partition.forgotten = partition.closed.is_some();
            }
            Ok(())
        })
    }

    /// Declares this member's process dead to the lease store.
    pub fn declare_dead(&self, owner: &OwnerId) {
        self.0.leases().declare_dead(owner);
    }

    fn arrange(&self, change: impl FnOnce(&mut Arranged)) {
        self.0.plan.arrange(change);
        self.wake_readers();
    }

    /// Wakes waiting readers so that the fault reaches them.
    fn wake_readers(&self) {
        // A stream without a log has no readers.
        let _ = self.0.with_log(|log| {
            log.wake_all();
            Ok(())
        });
    }
}

impl fmt::Debug for MemoryFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryFaults").field(&self.0.name).finish()
    }
}

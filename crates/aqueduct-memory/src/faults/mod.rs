mod fault;
mod plan;

use std::fmt;
use std::sync::Arc;

use aqueduct_core::{Event, OwnerId, PartitionId, Result};

pub use self::fault::{Applied, Fault};
pub(crate) use self::plan::Plan;
use self::plan::{Arranged, Pick};
use crate::error;
use crate::stream::Stream;

/// Makes things go wrong in one stream: a handle that tests keep beside the client.
///
/// Chances are drawn from the [`Runtime`](aqueduct_core::Runtime) of whoever is hit, so they follow from the seed in a
/// simulation. A stream without faults pays one branch a call.
///
/// ```
/// use aqueduct_core::ErrorKind;
/// use aqueduct_memory::{Applied, Fault, MemoryBackend, Operation};
/// use std::time::Duration;
///
/// let backend = MemoryBackend::new();
/// let faults = backend.faults("orders");
/// faults.next(Operation::Send, 3, Fault::throttled(Duration::from_millis(50)));
/// faults.chance(Operation::LeaseWrite, 0.05, Fault::lost_answer(Applied::Maybe));
/// faults.fail_events(1, Fault::refused(ErrorKind::Unavailable), |event| event.key() == Some("VINET"));
/// ```
#[derive(Clone)]
pub struct Faults(Arc<Stream>);

/// What a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a resource or a partition.
    Open,
    /// A `send_batch` as a whole.
    Send,
    /// A read of a partition; one that waits is hit at once.
    Read,
    /// Listing partitions, resolving a start, asking for a tail, and administration.
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

impl Faults {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        Self(stream)
    }

    /// The next `count` calls of that kind, behind those already arranged.
    pub fn next(&self, operation: Operation, count: u64, fault: Fault) {
        self.arrange(|state| {
            let next = state.next.entry(operation).or_default();
            next.push_back((count, fault));
        });
    }

    /// Every call of that kind with that probability (0 to 1), until cleared.
    pub fn chance(&self, operation: Operation, probability: f64, fault: Fault) {
        self.arrange(|state| state.chances.push((operation, probability, fault)));
    }

    /// The next `count` events that `matches` picks fail, each alone; the rest of their calls
    /// goes on, but for later events of the same key.
    pub fn fail_events(
        &self,
        count: u64,
        fault: Fault,
        matches: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) {
        let pick = Pick::Matching(count, Box::new(matches));
        self.arrange(|state| state.events.push((pick, fault)));
    }

    /// Every event fails alone with that probability (0 to 1), until cleared.
    pub fn fail_events_by_chance(&self, probability: f64, fault: Fault) {
        self.arrange(|state| state.events.push((Pick::Chance(probability), fault)));
    }

    /// Credentials no longer suffice, or suffice again: while denied, every call answers `Denied`.
    pub fn deny(&self, denied: bool) {
        self.arrange(|state| state.denied = denied);
    }

    /// Ends every fault that was arranged; what happened stays.
    pub fn clear(&self) {
        self.arrange(|state| {
            *state = Arranged {
                hits: std::mem::take(&mut state.hits),
                ..Arranged::default()
            };
        });
    }

    /// How many calls of that kind a fault has hit. Faults of single events count as `Send`.
    pub fn hits(&self, operation: Operation) -> u64 {
        let state = self.0.plan.lock();
        state.hits.get(&operation).copied().unwrap_or(0)
    }

    /// Cuts the connection of every reader that is open: its read under way, or else its next one,
    /// answers `Unavailable` once.
    pub fn cut_readers(&self) {
        self.0.plan.cut();
        self.wake_readers();
    }

    /// Retention removes the `count` oldest events of a partition.
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

    /// Retention removes every event stored now, and closed partitions leave the listing.
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

    /// The lease store knows from now on that this member's process is gone.
    pub fn declare_dead(&self, owner: &OwnerId) {
        self.0.leases().declare_dead(owner);
    }

    fn arrange(&self, change: impl FnOnce(&mut Arranged)) {
        self.0.plan.arrange(change);
        self.wake_readers();
    }

    /// Readers that wait look again, and are hit.
    fn wake_readers(&self) {
        // Without a log there is none.
        let _ = self.0.with_log(|log| {
            log.wake_all();
            Ok(())
        });
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.name).finish()
    }
}

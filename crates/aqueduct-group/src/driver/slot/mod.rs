mod committing;
mod handing_out;
mod reading;
mod settler;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aqueduct_core::{
    Assignment, Checkpoint, Instant, PartitionId, ReadFailure, Revocation, Revocations, Timestamp,
};
use event_listener::Event as Signal;

use super::lag::Lag;
use super::stop::Stopping;
use super::{Shared, lock};
use crate::member::Opening;
use crate::tracker::{Tracker, TrackerOptions};

/// One owned partition: the settler of its deliveries.
pub(crate) struct Slot {
    pub(super) shared: Arc<Shared>,
    pub(super) assignment: Assignment,
    pub(super) origin: Origin,
    inner: Mutex<Inner>,
    revocations: Revocations,
    handing: Handing,
    /// Wakes the reader when there may be room.
    room: Signal,
    pub(super) stopping: Stopping,
}

/// The partition, and where its reading began.
pub(super) struct Origin {
    pub(super) partition: PartitionId,
    pub(super) start: Checkpoint,
    /// As stored with the checkpoint.
    caught_up_at: Option<Timestamp>,
}

/// Whether deliveries may go out, readable without the lock.
struct Handing {
    /// When handing out stops, in nanoseconds of the runtime's clock.
    until: AtomicU64,
    /// Whether events may be handed out: its first hook has run, and it is not being given up.
    open: AtomicBool,
    /// An event is marked as started and waits for a receiver, which should look here first.
    marked: AtomicBool,
}

struct Inner {
    tracker: Tracker,
    /// The reader waits for room.
    reader_waits: bool,
    /// The driver wants to know of every change.
    watched: bool,
    /// Bytes charged to the process's budget.
    charged: usize,
    lag: Lag,
    /// Consecutive failed reads, and the last failure.
    failing: Option<(u32, ReadFailure)>,
    /// Reading stopped at a gap.
    gap: bool,
}

impl Slot {
    pub(super) fn new(shared: &Arc<Shared>, opening: &Opening) -> Arc<Self> {
        let options = &shared.options;
        let lease = &opening.lease;
        let limits = TrackerOptions {
            max_unsettled: options.max_unsettled,
            max_unsettled_bytes: options.max_unsettled_bytes,
            max_parked: options.max_parked,
            max_span: options.max_span,
            redelivery: options.redelivery,
            hash_seed: shared.runtime.random(),
        };
        let tracker = Tracker::new(
            limits,
            lease.checkpoint,
            lease.handed_out,
            opening.takeover(),
        );
        let watched = tracker.is_guarded();
        Arc::new(Self {
            shared: shared.clone(),
            assignment: Assignment {
                stream: shared.member.key.stream.clone(),
                group: shared.member.key.group.clone(),
                partition: Some(lease.partition.clone()),
                generation: lease.generation,
                replay: opening.replay,
            },
            origin: Origin {
                partition: lease.partition.clone(),
                start: lease.checkpoint,
                caught_up_at: lease.caught_up_at,
            },
            inner: Mutex::new(Inner {
                tracker,
                reader_waits: false,
                watched,
                charged: 0,
                lag: Lag::default(),
                failing: None,
                gap: false,
            }),
            revocations: Revocations::new(),
            handing: Handing {
                until: AtomicU64::new(nanos(opening.until)),
                open: AtomicBool::new(false),
                marked: AtomicBool::new(false),
            },
            room: Signal::new(),
            stopping: Stopping::default(),
        })
    }

    /// Stops handing out, and asks the reader's task to end.
    pub(super) fn stop(&self, why: Revocation) {
        self.handing.open.store(false, Ordering::Release);
        lock(&self.inner).watched = true;
        self.stopping.begin(why);
    }

    fn charge(&self, inner: &mut Inner) {
        if let Some(budget) = &self.shared.options.budget {
            let held = inner.tracker.bytes();
            budget.change(inner.charged, held);
            inner.charged = held;
        }
    }
}

fn nanos(moment: Instant) -> u64 {
    u64::try_from(moment.elapsed_since_origin().as_nanos()).unwrap_or(u64::MAX)
}

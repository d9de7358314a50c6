//! Executes the commands of a member: calls to the store, one task per open partition, and the
//! deliveries between them.

mod calls;
mod deliver;
mod gap;
mod lag;
mod reader;
mod report;
mod run;
mod slot;
mod stop;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aqueduct_core::{
    ConsumerStatus, Error, GroupKey, Instant, LeaseStore, OwnerId, PartitionedLog, Result,
    Revocation, Runtime,
};
use event_listener::Event as Signal;
use futures::channel::{mpsc, oneshot};
use metrics::Counter;

use self::deliver::Slots;
pub(crate) use self::run::{Driver, Start};
use crate::GroupOptions;
use crate::gate::Seat;

/// The state shared by driver, readers, receivers and settlers.
pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) options: GroupOptions,
    pub(crate) member: Membership,
    receivers: Receivers,
    driver: Signals,
    ending: Ending,
    isolation: Isolation,
}

/// The identity of the member, its log and its lease store.
pub(crate) struct Membership {
    pub(crate) key: GroupKey,
    pub(crate) owner: OwnerId,
    pub(crate) log: Arc<dyn PartitionedLog>,
    pub(crate) leases: Arc<dyn LeaseStore>,
}

/// The state that receivers look at before and while they wait.
struct Receivers {
    slots: Mutex<Slots>,
    /// Wakes them.
    ready: Signal,
    /// How many wait.
    waiting: AtomicUsize,
    paused: AtomicBool,
    draining: AtomicBool,
    /// Whether any partition ever stopped at a gap.
    gaps: AtomicBool,
    delivered: Counter,
}

/// The way to the driver, and what it last reported.
struct Signals {
    wake: Signal,
    requests: mpsc::UnboundedSender<Request>,
    unreachable_since: Mutex<Option<Instant>>,
}

/// The end of the member.
#[derive(Default)]
struct Ending {
    ended: AtomicBool,
    /// Wakes the callers that wait for the end.
    over: Signal,
    /// The error of every later `receive_batch`.
    failure: Mutex<Option<Error>>,
    /// The error of the close.
    kept: Mutex<Option<Error>>,
}

/// The conditions for an event to run alone.
struct Isolation {
    seat: Seat,
    /// Deliveries of lost partitions that handlers still hold.
    strays: AtomicUsize,
}

/// A request of a consumer to its driver.
pub(crate) enum Request {
    Flush(oneshot::Sender<bool>),
    Close,
}

pub(crate) use aqueduct_core::sync::lock;

impl Shared {
    pub(crate) fn new(
        runtime: &Runtime,
        options: GroupOptions,
        member: Membership,
        requests: mpsc::UnboundedSender<Request>,
    ) -> Self {
        let delivered = metrics::counter!(
            "aqueduct_group_delivered_total",
            "group" => member.key.group.to_string(),
            "stream" => member.key.stream.to_string(),
        );
        let seat = options.isolation.clone().unwrap_or_default().join();
        Self {
            runtime: runtime.clone(),
            options,
            member,
            receivers: Receivers {
                slots: Mutex::default(),
                ready: Signal::new(),
                waiting: AtomicUsize::new(0),
                paused: AtomicBool::new(false),
                draining: AtomicBool::new(false),
                gaps: AtomicBool::new(false),
                delivered,
            },
            driver: Signals {
                wake: Signal::new(),
                requests,
                unreachable_since: Mutex::default(),
            },
            ending: Ending::default(),
            isolation: Isolation {
                seat,
                strays: AtomicUsize::new(0),
            },
        }
    }

    pub(crate) fn request(&self, request: Request) {
        // If the driver has ended, the request has no effect.
        self.driver.requests.unbounded_send(request).ok();
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.receivers.paused.store(paused, Ordering::Release);
        self.receivers.ready.notify(usize::MAX);
    }

    /// Stops fetching and handing out.
    pub(crate) fn drain(&self) {
        self.receivers.draining.store(true, Ordering::Release);
        let mut slots = lock(&self.receivers.slots);
        slots.put_back();
        for slot in &slots.list {
            slot.wake_reader();
        }
        drop(slots);
        self.receivers.ready.notify(usize::MAX);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ending.ended.load(Ordering::Acquire)
    }

    /// Waits for the end; returns the error of the close.
    pub(crate) async fn ended(&self) -> Result<()> {
        loop {
            let over = self.ending.over.listen();
            if self.is_ended() {
                return lock(&self.ending.kept).clone().map_or(Ok(()), Err);
            }
            over.await;
        }
    }

    /// Ends everything at once: revokes all deliveries and commits nothing.
    pub(crate) fn end(&self, failure: Option<Error>) {
        if let Some(failure) = failure {
            self.fail(failure);
        }
        self.ending.ended.store(true, Ordering::Release);
        self.receivers.draining.store(true, Ordering::Release);
        let list = {
            let mut slots = lock(&self.receivers.slots);
            slots.put_back();
            std::mem::take(&mut slots.list)
        };
        for slot in list {
            slot.revoke(Revocation::Shutdown);
        }
        self.ending.over.notify(usize::MAX);
        self.receivers.ready.notify(usize::MAX);
    }

    /// Makes every later `receive_batch` return that error.
    fn fail(&self, error: Error) {
        lock(&self.ending.failure).get_or_insert(error);
        self.receivers.ready.notify(usize::MAX);
    }

    /// Notes that a delivery of a lost partition was dropped.
    fn stray_dropped(&self) {
        let fewer = |strays: usize| strays.checked_sub(1);
        let order = Ordering::AcqRel;
        self.isolation
            .strays
            .fetch_update(order, Ordering::Acquire, fewer)
            .ok();
        if self.isolation.seat.is_held() {
            self.driver.wake.notify(usize::MAX);
        }
    }

    pub(crate) fn status(&self) -> ConsumerStatus {
        let now = self.runtime.now();
        let mut status = ConsumerStatus::default();
        status.partitions = lock(&self.receivers.slots)
            .list
            .iter()
            .map(|slot| slot.status(now))
            .collect();
        status
            .partitions
            .sort_by(|a, b| a.partition.cmp(&b.partition));
        status.unreachable_since = *lock(&self.driver.unreachable_since);
        status.paused = self.receivers.paused.load(Ordering::Acquire);
        status
    }
}

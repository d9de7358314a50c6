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
    pub(crate) key: GroupKey,
    pub(crate) owner: OwnerId,
    pub(crate) log: Arc<dyn PartitionedLog>,
    pub(crate) leases: Arc<dyn LeaseStore>,
    slots: Mutex<Slots>,
    /// Wakes receivers.
    ready: Signal,
    /// Wakes the driver.
    wake: Signal,
    /// Wakes the callers that wait for the end.
    over: Signal,
    /// The number of waiting receivers.
    waiting: AtomicUsize,
    paused: AtomicBool,
    draining: AtomicBool,
    ended: AtomicBool,
    /// Whether any partition ever stopped at a gap.
    gaps: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// The error of the close.
    kept: Mutex<Option<Error>>,
    unreachable_since: Mutex<Option<Instant>>,
    requests: mpsc::UnboundedSender<Request>,
    delivered: Counter,
    pub(super) seat: Seat,
    /// Deliveries of lost partitions that handlers still hold; an isolated event waits for these
    /// too.
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
        key: GroupKey,
        owner: OwnerId,
        log: Arc<dyn PartitionedLog>,
        leases: Arc<dyn LeaseStore>,
        requests: mpsc::UnboundedSender<Request>,
    ) -> Self {
        let delivered = metrics::counter!(
            "aqueduct_group_delivered_total",
            "group" => key.group.to_string(),
            "stream" => key.stream.to_string(),
        );
        let seat = options.isolation.clone().unwrap_or_default().join();
        Self {
            runtime: runtime.clone(),
            options,
            key,
            owner,
            log,
            leases,
            slots: Mutex::default(),
            ready: Signal::new(),
            wake: Signal::new(),
            over: Signal::new(),
            waiting: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            gaps: AtomicBool::new(false),
            failure: Mutex::default(),
            kept: Mutex::default(),
            unreachable_since: Mutex::default(),
            requests,
            delivered,
            seat,
            strays: AtomicUsize::new(0),
        }
    }

    pub(crate) fn request(&self, request: Request) {
        // If the driver has ended, the request has no effect.
        self.requests.unbounded_send(request).ok();
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.ready.notify(usize::MAX);
    }

    /// Stops fetching and handing out.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        let mut slots = lock(&self.slots);
        slots.put_back();
        for slot in &slots.list {
            slot.wake_reader();
        }
        drop(slots);
        self.ready.notify(usize::MAX);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits for the end; returns the error of the close.
    pub(crate) async fn ended(&self) -> Result<()> {
        loop {
            let over = self.over.listen();
            if self.is_ended() {
                return lock(&self.kept).clone().map_or(Ok(()), Err);
            }
            over.await;
        }
    }

    /// Ends everything at once: revokes all deliveries and commits nothing.
    pub(crate) fn end(&self, failure: Option<Error>) {
        if let Some(failure) = failure {
            self.fail(failure);
        }
        self.ended.store(true, Ordering::Release);
        self.draining.store(true, Ordering::Release);
        let list = {
            let mut slots = lock(&self.slots);
            slots.put_back();
            std::mem::take(&mut slots.list)
        };
        for slot in list {
            slot.revoke(Revocation::Shutdown);
        }
        self.over.notify(usize::MAX);
        self.ready.notify(usize::MAX);
    }

    /// Makes every later `receive_batch` return that error.
    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.ready.notify(usize::MAX);
    }

    /// Notes that a delivery of a lost partition was dropped.
    fn stray_dropped(&self) {
        let fewer = |strays: usize| strays.checked_sub(1);
        let order = Ordering::AcqRel;
        self.strays
            .fetch_update(order, Ordering::Acquire, fewer)
            .ok();
        if self.seat.is_held() {
            self.wake.notify(usize::MAX);
        }
    }

    pub(crate) fn status(&self) -> ConsumerStatus {
        let now = self.runtime.now();
        let mut status = ConsumerStatus::default();
        status.partitions = lock(&self.slots)
            .list
            .iter()
            .map(|slot| slot.status(now))
            .collect();
        status
            .partitions
            .sort_by(|a, b| a.partition.cmp(&b.partition));
        status.unreachable_since = *lock(&self.unreachable_since);
        status.paused = self.paused.load(Ordering::Acquire);
        status
    }
}

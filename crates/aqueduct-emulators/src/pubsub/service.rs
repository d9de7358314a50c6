use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tonic::Status;

use super::fault::{Faults, PubSubFault};
use super::machine::{Broker, Time};
use super::options::PubSubOptions;
use super::streams::Streams;
use super::wire::Connection;

/// The state machine, its clock, and who waits for it.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) options: PubSubOptions,
    pub(super) faults: Faults,
    pub(super) streams: Streams,
    broker: Mutex<Broker>,
    clock: Clock,
    waiting: Mutex<HashMap<u64, Arc<Notify>>>,
    /// Wakes the timer when something is due earlier than it sleeps.
    timer: Notify,
    consumers: AtomicU64,
}

/// The time of the system, moved forward by tests.
#[derive(Debug, Default)]
struct Clock {
    /// Milliseconds.
    ahead: AtomicU64,
    /// Milliseconds since the epoch until which the timer sleeps.
    armed: AtomicU64,
}

impl Service {
    pub(super) fn new(options: PubSubOptions) -> Self {
        Self {
            streams: Streams::new(options.seed),
            options,
            faults: Faults::default(),
            broker: Mutex::default(),
            clock: Clock::default(),
            waiting: Mutex::default(),
            timer: Notify::new(),
            consumers: AtomicU64::new(1),
        }
    }

    pub(super) fn now(&self) -> Time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default() + Duration::from_millis(self.clock.ahead.load(Ordering::SeqCst))
    }

    pub(super) fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.clock.ahead.fetch_add(by, Ordering::SeqCst);
        self.with(|broker, now| broker.tick(now));
    }

    /// Works on the broker, and wakes the consumers that may have something to do then.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Broker, Time) -> R) -> R {
        let now = self.now();
        let mut broker = self.lock();
        // Leases that are over must not be extended because the timer is late.
        if broker.next_event().is_some_and(|at| at <= now) {
            broker.tick(now);
        }
        let result = work(&mut broker, now);
        let (dirty, next) = (broker.take_dirty(), broker.next_event());
        drop(broker);
        if !dirty.is_empty() {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for number in dirty {
                if let Some(waiting) = waiting.get(&number) {
                    waiting.notify_waiters();
                }
            }
        }
        if next.is_some_and(|next| millis(next) < self.clock.armed.load(Ordering::SeqCst)) {
            self.timer.notify_one();
        }
        result
    }

    /// Returns what is notified when a subscription may have something to deliver.
    pub(super) fn notify(&self, subscription: u64) -> Arc<Notify> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(waiting.entry(subscription).or_default())
    }

    pub(super) fn consumer(&self) -> u64 {
        self.consumers.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets time pass in the broker, until it is dropped.
    pub(super) async fn run_timer(&self) {
        /// The longest sleep, after which the system's clock may have been set.
        const LONGEST: Duration = Duration::from_secs(60);
        loop {
            let next = self.lock().next_event();
            let now = self.now();
            let sleep = next.map_or(LONGEST, |next| next.saturating_sub(now).min(LONGEST));
            self.clock
                .armed
                .store(millis(now + sleep), Ordering::SeqCst);
            tokio::select! {
                () = tokio::time::sleep(sleep) => self.with(|broker, now| broker.tick(now)),
                () = self.timer.notified() => {}
            }
        }
    }

    /// Runs a call with the fault that waits for its method.
    pub(super) async fn call<R: Default>(
        &self,
        method: &str,
        connection: &Connection,
        work: impl FnOnce() -> Result<R, Status>,
    ) -> Result<R, Status> {
        let Some(fault) = self.faults.take(method) else {
            return work();
        };
        match fault {
            PubSubFault::LoseRequest => return Ok(R::default()),
            PubSubFault::Slow(delay) => {
                tokio::time::sleep(delay).await;
                return work();
            }
            PubSubFault::LoseResponse => drop(work()?),
            PubSubFault::Reset => connection.reset(),
            _ => {}
        }
        match fault.status() {
            Some(status) => Err(status),
            None => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Time) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

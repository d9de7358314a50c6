use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use aqueduct_core::{Event, Result, Runtime, SendReport, StreamId, StreamName, Timestamp};

use crate::config::Settings;
use crate::dead_letters::DeadLetterBox;
use crate::error;
use crate::faults::Plan;
use crate::idempotency::Records;
use crate::leases::Leases;
use crate::log::{Log, Verdict};
use crate::ranges::Ranges;
use aqueduct_core::hash::hash_key;
use aqueduct_core::sync::lock;

/// The data under one name: the log, if it exists, and the three stores beside it.
pub(crate) struct Stream {
    pub(crate) name: StreamName,
    pub(crate) plan: Plan,
    log: Mutex<Slot>,
    /// A copy of the log's ranges, so that computing a lane never waits for a batch.
    lanes: RwLock<Ranges>,
    leases: Mutex<Leases>,
    records: Mutex<Records>,
    dead_letters: Mutex<DeadLetterBox>,
}

#[derive(Default)]
struct Slot {
    log: Option<Log>,
    made: u64,
}

impl Stream {
    pub(crate) fn new(name: StreamName) -> Self {
        Self {
            name,
            plan: Plan::default(),
            log: Mutex::default(),
            lanes: RwLock::default(),
            leases: Mutex::default(),
            records: Mutex::default(),
            dead_letters: Mutex::default(),
        }
    }

    /// Creates the log if there is none; returns whether it did.
    pub(crate) fn create(&self, settings: Settings, runtime: &Runtime) -> bool {
        let mut slot = lock(&self.log);
        if slot.log.is_some() {
            return false;
        }
        slot.made += 1;
        // Random, since a store elsewhere may know the stream of an earlier process by this name.
        let id = StreamId::new(format!(
            "{:016x}{:016x}",
            runtime.random(),
            runtime.random()
        ));
        let log = Log::new(settings, runtime.wall(), id, slot.made);
        self.publish_lanes(&log);
        slot.log = Some(log);
        true
    }

    /// Removes the log and the contents of the stores. Returns whether there was a log.
    pub(crate) fn delete(&self) -> bool {
        let gone = lock(&self.log).log.take();
        *lock(&self.leases) = Leases::default();
        *lock(&self.records) = Records::default();
        *lock(&self.dead_letters) = DeadLetterBox::default();
        if let Some(log) = &gone {
            log.wake_all();
        }
        gone.is_some()
    }

    /// Calls `work` with the log.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub(crate) fn with_log<T>(&self, work: impl FnOnce(&mut Log) -> Result<T>) -> Result<T> {
        match &mut lock(&self.log).log {
            Some(log) => work(log),
            None => Err(error::no_stream(&self.name)),
        }
    }

    pub(crate) fn append(
        &self,
        events: &[Event],
        now: Timestamp,
        judge: impl FnMut(&Event) -> Verdict,
    ) -> Result<SendReport> {
        self.with_log(|log| Ok(log.append(&self.name, events, now, judge)))
    }

    pub(crate) fn reshard(&self, count: u32, now: Timestamp) -> Result<()> {
        self.with_log(|log| {
            log.reshard(count, now);
            self.publish_lanes(log);
            Ok(())
        })
    }

    /// Returns the partition for events of that key.
    pub(crate) fn lane(&self, key: &str) -> u64 {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        lanes.find(hash_key(key)) as u64
    }

    pub(crate) fn leases(&self) -> MutexGuard<'_, Leases> {
        lock(&self.leases)
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, Records> {
        lock(&self.records)
    }

    pub(crate) fn dead_letters(&self) -> MutexGuard<'_, DeadLetterBox> {
        lock(&self.dead_letters)
    }

    fn publish_lanes(&self, log: &Log) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        *lanes = log.ranges.clone();
    }
}

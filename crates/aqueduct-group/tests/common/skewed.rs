//! A machine whose wall clock is wrong.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use aqueduct_core::{Instant, Platform, Runtime, Timestamp};
use futures::future::BoxFuture;

/// Seconds of a year.
pub const YEAR: i64 = 365 * 24 * 3600;

/// A process that stood still: its clock goes on, and none of its tasks has run since.
#[derive(Clone)]
pub struct Stopped {
    inner: Runtime,
    seconds: Arc<AtomicU64>,
}

impl Stopped {
    pub fn new(inner: &Runtime) -> Self {
        Self {
            inner: inner.clone(),
            seconds: Arc::default(),
        }
    }

    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.clone())
    }

    pub fn stand_still(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn stood(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }
}

impl Platform for Stopped {
    fn now(&self) -> Instant {
        self.inner.now() + self.stood()
    }

    fn wall(&self) -> Timestamp {
        self.inner.wall().saturating_add(self.stood())
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.inner.sleep_until(deadline - self.stood())
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.inner.spawn(task).detach();
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}

/// A runtime with a wall clock that can be set apart from the true time.
#[derive(Clone)]
pub struct Skewed {
    inner: Runtime,
    seconds: Arc<AtomicI64>,
}

impl Skewed {
    pub fn new(inner: &Runtime, seconds: i64) -> Self {
        Self {
            inner: inner.clone(),
            seconds: Arc::new(AtomicI64::new(seconds)),
        }
    }

    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.clone())
    }

    pub fn set(&self, seconds: i64) {
        self.seconds.store(seconds, Ordering::SeqCst);
    }
}

impl Platform for Skewed {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall(&self) -> Timestamp {
        let skew = self.seconds.load(Ordering::SeqCst);
        Timestamp::from_millis(self.inner.wall().as_millis() + skew * 1000)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.inner.sleep_until(deadline)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.inner.spawn(task).detach();
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}

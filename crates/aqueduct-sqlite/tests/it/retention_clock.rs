//! Retention under a wall clock that jumps. Time passes only as the tests say.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aqueduct_core::{
    BatchProducer, Claimed, DeadLetter, DeadLetterQuery, DeadLetterReason, EventClaim,
    IdempotencyScope, Instant, Platform, Resource, Runtime, Timestamp,
};
use aqueduct_runtime::ManualClock;
use aqueduct_sqlite::SqliteBackend;
use futures::future::BoxFuture;
use tempfile::TempDir;

use crate::support::*;

const MINUTE: Duration = Duration::from_secs(60);
const YEAR: i64 = 365 * 24 * 3600;
const HOUR_KEPT: [(&str, &str); 2] = [("partitions", "1"), ("retention", "1h")];

/// A manual clock whose wall clock can be set apart from the monotonic one.
#[derive(Clone)]
struct Skewed {
    clock: ManualClock,
    seconds: Arc<AtomicI64>,
    inner: Runtime,
}

#[deny(clippy::missing_trait_methods)]
impl Platform for Skewed {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> Timestamp {
        let skew = self.seconds.load(Ordering::SeqCst);
        Timestamp::from_millis(self.clock.wall().as_millis() + skew * 1000)
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

struct Machine {
    folder: TempDir,
    skewed: Skewed,
}

/// The file as one process has it open.
struct Opened {
    machine: Skewed,
    backend: SqliteBackend,
    runtime: Runtime,
    resource: Arc<dyn Resource>,
    producer: Arc<dyn BatchProducer>,
    file: std::path::PathBuf,
}

impl Machine {
    fn new() -> Self {
        let clock = ManualClock::new();
        let inner = clock.runtime();
        Self {
            folder: tempfile::tempdir().unwrap(),
            skewed: Skewed {
                clock,
                seconds: Arc::default(),
                inner,
            },
        }
    }

    /// Sets the wall clock that many seconds apart from the true time.
    fn set_wall(&self, seconds: i64) {
        self.skewed.seconds.store(seconds, Ordering::SeqCst);
    }

    async fn open(&self, options: &[(&'static str, &str)]) -> Opened {
        let backend = SqliteBackend::new();
        let runtime = Runtime::new(self.skewed.clone());
        let file = self.folder.path().join("events.db");
        let resource = resource(&backend, &file, "orders", options).unwrap();
        let producer = resource.producer(&runtime).await.unwrap();
        Opened {
            machine: self.skewed.clone(),
            backend,
            runtime,
            resource,
            producer,
            file,
        }
    }
}

impl Opened {
    /// Lets time pass in two steps, each followed by passes of retention enough for all that is due.
    async fn pass(&self, time: Duration) {
        let clock = &self.machine.clock;
        for big in [time / 2, time - time / 2] {
            for step in std::iter::once(big).chain([Duration::from_secs(2); 8]) {
                until("retention waits", || async { clock.next_timer().is_some() }).await;
                clock.advance(step);
                until("retention has run", || async {
                    clock.next_timer().is_some()
                })
                .await;
            }
        }
    }

    /// Returns the number of kept events and their first and last stored times.
    async fn kept(&self) -> (i64, Option<i64>, Option<i64>) {
        let store = self
            .backend
            .store(&self.file, Default::default(), &self.runtime)
            .await
            .unwrap();
        store
            .read(|connection| {
                let sql =
                    "SELECT coalesce(sum(last - first + 1), 0), min(stored_at), max(stored_at)
                           FROM aqueduct_segment";
                let row = connection
                    .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
                Ok(row.unwrap())
            })
            .await
            .unwrap()
    }

    async fn count(&self) -> i64 {
        self.kept().await.0
    }
}

#[tokio::test]
async fn a_jump_of_a_year_removes_nothing_that_is_not_due() {
    let machine = Machine::new();
    let opened = machine.open(&HOUR_KEPT).await;
    send(&*opened.producer, &[event("a", 0)]).await;
    opened.pass(20 * MINUTE).await;
    machine.set_wall(YEAR);
    opened.pass(20 * MINUTE).await;
    assert_eq!(opened.count().await, 1, "40 minutes old");
    send(&*opened.producer, &[event("a", 1)]).await;
    opened.pass(50 * MINUTE).await;
    assert_eq!(
        opened.count().await,
        1,
        "the first is 90 minutes old, the second 50"
    );
    opened.pass(15 * MINUTE).await;
    assert_eq!(opened.count().await, 0);
}

#[tokio::test]
async fn a_file_opened_with_a_clock_a_year_ahead_ages_on_from_its_newest_event() {
    let machine = Machine::new();
    let opened = machine.open(&HOUR_KEPT).await;
    send(&*opened.producer, &[event("a", 0)]).await;
    opened.pass(50 * MINUTE).await;
    send(&*opened.producer, &[event("a", 1)]).await;
    drop(opened);
    machine.set_wall(YEAR);
    let opened = machine.open(&HOUR_KEPT).await;
    send(&*opened.producer, &[event("a", 2)]).await;
    opened.pass(5 * MINUTE).await;
    assert_eq!(opened.count().await, 3);
    opened.pass(10 * MINUTE).await;
    assert_eq!(opened.count().await, 2, "the first is over an hour old");
    opened.pass(50 * MINUTE).await;
    assert_eq!(opened.count().await, 0);
}

#[tokio::test]
async fn events_stored_by_a_clock_a_year_ahead_make_no_others_older_in_the_next_run() {
    let machine = Machine::new();
    let opened = machine.open(&HOUR_KEPT).await;
    send(&*opened.producer, &[event("a", 0)]).await;
    opened.pass(20 * MINUTE).await;
    drop(opened);
    machine.set_wall(YEAR);
    for n in 1..=3 {
        let opened = machine.open(&HOUR_KEPT).await;
        send(&*opened.producer, &[event("a", n)]).await;
        opened.pass(10 * MINUTE).await;
        assert_eq!(opened.count().await, n as i64 + 1, "run {n}");
    }
    let opened = machine.open(&HOUR_KEPT).await;
    // The time from the first to the end of its run is not in the file: it counts from there on.
    opened.pass(32 * MINUTE).await;
    assert_eq!(opened.count().await, 3, "the first is over an hour old");
}

#[tokio::test]
async fn a_jump_of_a_running_process_makes_nothing_older_in_the_next_run() {
    let machine = Machine::new();
    let opened = machine.open(&HOUR_KEPT).await;
    send(&*opened.producer, &[event("a", 0)]).await;
    opened.pass(10 * MINUTE).await;
    machine.set_wall(YEAR);
    opened.pass(10 * MINUTE).await;
    send(&*opened.producer, &[event("a", 1)]).await;
    drop(opened);
    let opened = machine.open(&HOUR_KEPT).await;
    opened.pass(30 * MINUTE).await;
    assert_eq!(opened.count().await, 2, "50 and 30 minutes old");
    drop(opened);
    // The clock is put right again: the jump was none.
    machine.set_wall(0);
    let opened = machine.open(&HOUR_KEPT).await;
    opened.pass(50 * MINUTE).await;
    assert_eq!(
        opened.count().await,
        2,
        "they age on from the newest time in the past"
    );
    opened.pass(11 * MINUTE).await;
    assert_eq!(opened.count().await, 1, "the first is over an hour old");
}

#[tokio::test]
async fn a_run_with_a_clock_a_century_ahead_does_not_turn_retention_off() {
    let machine = Machine::new();
    machine.set_wall(100 * YEAR);
    let opened = machine.open(&HOUR_KEPT).await;
    for n in 0..150 {
        send(&*opened.producer, &[event("a", n)]).await;
    }
    drop(opened);
    machine.set_wall(0);
    let opened = machine.open(&HOUR_KEPT).await;
    send(&*opened.producer, &[event("a", 150)]).await;
    opened.pass(50 * MINUTE).await;
    assert_eq!(opened.count().await, 151);
    opened.pass(30 * MINUTE).await;
    assert_eq!(
        opened.count().await,
        151,
        "their age counts from the correction"
    );
    let now = opened.runtime.wall().as_millis();
    let (_, first, last) = opened.kept().await;
    assert!(first <= last && last.unwrap() / 1_000_000 <= now);
    send(&*opened.producer, &[event("a", 151)]).await;
    opened.pass(59 * MINUTE).await;
    assert_eq!(opened.count().await, 1);
    opened.pass(5 * MINUTE).await;
    assert_eq!(opened.count().await, 0);
}

#[tokio::test]
async fn dead_letters_and_completed_ids_outlive_a_jump_too() {
    let machine = Machine::new();
    let mut options = HOUR_KEPT.to_vec();
    options.extend([
        ("dead_letter_retention", "1h"),
        ("idempotency_retention", "2h"),
    ]);
    let opened = machine.open(&options).await;
    let dead_letters = opened.resource.dead_letters(&opened.runtime).await.unwrap();
    let records = opened.resource.idempotency(&opened.runtime).await.unwrap();
    let dead_letter = DeadLetter::new(
        event("a", 0),
        "orders".into(),
        "billing".into(),
        DeadLetterReason::Rejected,
        "no",
        opened.runtime.wall(),
    );
    let put = dead_letters.put(&[dead_letter]).await.pop();
    put.unwrap().unwrap();
    let scope = IdempotencyScope {
        group: "billing".into(),
        handlers: "all".into(),
        replay: 0,
    };
    let claim = [EventClaim::new(&event("a", 0), 1)];
    let completed = records.complete(&scope, &claim).await.pop();
    completed.unwrap().unwrap();
    machine.set_wall(YEAR);
    opened.pass(30 * MINUTE).await;
    let listed = || async {
        dead_letters
            .list(&DeadLetterQuery::default())
            .await
            .unwrap()
    };
    assert!(!listed().await.is_empty());
    opened.pass(60 * MINUTE).await;
    assert!(listed().await.is_empty());
    let asked = records.claim(&scope, &claim).await.unwrap();
    assert_eq!(asked, [Claimed::Completed]);
    opened.pass(60 * MINUTE).await;
    let asked = records.claim(&scope, &claim).await.unwrap();
    assert_ne!(asked, [Claimed::Completed]);
}

//! How a worker runs, pauses, drains and ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::{
    ErrorKind, Json, Meta, Permanent, State,
    consumer::{Assignment, Checkpoint, RebalanceListener, Revocation},
    worker::Problem,
};
use aqueduct_memory::{MemoryFault, Operation};

use crate::innocents::{ended, step};
use crate::shop::{Log, placed, send, shop};

#[tokio::test]
async fn one_worker_reads_several_streams() {
    let test = shop("[groups.all]\nstream = [\"orders\", \"returns\"]\non_reject = \"drop\"").await;
    for stream in ["orders", "returns"] {
        send(&test, stream, (0..20).map(|n| placed("a", n)).collect()).await;
    }
    let log = Log::default();
    let worker = test.client().worker("all").await.unwrap();
    let running = test.start(worker.state(log.clone()).on(
        "*",
        |Json(n): Json<u32>, meta: Meta, State(log): State<Log>| async move {
            log.lock().unwrap().push((meta.stream.to_string(), n));
            Err::<(), _>(Permanent::new("dropped"))
        },
    ));
    test.wait_until_drained("all").await.unwrap();
    running.stop().await.unwrap();
    for stream in ["orders", "returns"] {
        let log = log.lock().unwrap();
        let seen: Vec<_> = log
            .iter()
            .filter(|(from, _)| from == stream)
            .map(|(_, n)| *n)
            .collect();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_gives_the_rest_back_without_an_attempt() {
    let test = shop("").await;
    send(&test, "orders", (0..5).map(|n| placed("a", n)).collect()).await;
    let (begun, gate) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(futures::lock::Mutex::new(())),
    );
    let closed = gate.clone().lock_owned().await;
    let (count, wait) = (begun.clone(), gate.clone());
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.on("*", move || {
        count.fetch_add(1, Ordering::SeqCst);
        let wait = wait.clone();
        async move { drop(wait.lock().await) }
    }));
    while begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(running.control().health().ready);
    running.control().stop();
    drop(closed);
    running.ended().await.unwrap();
    assert_eq!(
        begun.load(Ordering::SeqCst),
        1,
        "what was not begun is left"
    );

    let log = Log::default();
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.state(log.clone()).on(
        "*",
        |Json(n): Json<u32>, meta: Meta, State(log): State<Log>| async move {
            log.lock().unwrap().push((meta.attempt.to_string(), n));
        },
    ));
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let expected: Vec<_> = (1..5).map(|n| (String::from("1"), n)).collect();
    assert_eq!(
        *log.lock().unwrap(),
        expected,
        "committed at the drain, nothing counted"
    );
}

#[tokio::test]
async fn a_drain_that_takes_too_long_and_an_abort_end_all_the_same() {
    for abort in [false, true] {
        let test = shop("").await;
        send(&test, "orders", vec![placed("a", 1)]).await;
        let begun = Arc::new(AtomicU32::new(0));
        let count = begun.clone();
        let worker = test.client().worker("billing").await.unwrap();
        let running = test.start(worker.on("*", move || {
            count.fetch_add(1, Ordering::SeqCst);
            futures::future::pending::<()>()
        }));
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let handle = running.control().clone();
        handle.stop();
        if abort {
            handle.abort();
            running.ended().await.unwrap();
        } else {
            let started = test.clock().now();
            let mut ended = std::pin::pin!(running.ended());
            while futures::poll!(&mut ended).is_pending() {
                tokio::task::yield_now().await;
                if let Some(next) = test.clock().next_timer() {
                    test.clock().advance_to(next);
                }
            }
            let took = test.clock().now().since(started);
            assert!(
                took >= Duration::from_secs(29),
                "{took:?}: the drain of 30 s is used"
            );
        }
        assert!(!handle.health().live);
    }
}

#[tokio::test]
async fn paused_workers_hold_back_and_say_so() {
    let test = shop("").await;
    let handled = Arc::new(AtomicU32::new(0));
    let count = handled.clone();
    let worker = test.client().worker("billing").await.unwrap();
    let handle = worker.control();
    assert_eq!(handle.health().problems, [Problem::NotRunning]);
    assert!(handle.flush().await.is_err());
    handle.pause();
    let running = test.start(worker.on("*", move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    }));
    send(&test, "orders", vec![placed("a", 1)]).await;
    while !handle.health().problems.contains(&Problem::Paused) {
        tokio::task::yield_now().await;
    }
    for _ in 0..50 {
        tokio::task::yield_now().await;
        test.clock().advance(Duration::from_millis(100));
    }
    assert_eq!(handled.load(Ordering::SeqCst), 0);
    assert!(!handle.health().ready && handle.health().live);
    handle.resume();
    test.wait_until_drained("billing").await.unwrap();
    assert_eq!(handled.load(Ordering::SeqCst), 1);
    handle.flush().await.unwrap();
    assert_eq!(handle.status().partitions.len(), 4);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn idle_ticks_come_while_nothing_else_does() {
    let test = shop("").await;
    let ticks = Arc::new(AtomicU32::new(0));
    let count = ticks.clone();
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.on("*", || async {}).on_idle(
        Duration::from_secs(60),
        move || {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        },
    ));
    while ticks.load(Ordering::SeqCst) < 3 {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        if let Some(next) = test.clock().next_timer() {
            test.clock().advance_to(next);
        }
    }
    let passed = test.clock().now().elapsed_since_origin();
    assert!(passed >= Duration::from_secs(180), "{passed:?}");
    running.stop().await.unwrap();
}

struct Noted(Arc<Mutex<Vec<String>>>);

#[aqueduct::async_trait]
impl RebalanceListener for Noted {
    async fn assigned(&self, assignment: &Assignment, start: &Checkpoint) {
        let said = format!("assigned {} at {start}", assignment.stream);
        self.0.lock().unwrap().push(said);
    }

    async fn revoked(&self, assignment: &Assignment, why: Revocation) {
        let said = format!("revoked {}: {why}", assignment.stream);
        self.0.lock().unwrap().push(said);
    }
}

#[tokio::test]
async fn hooks_are_told_when_partitions_come_and_go() {
    let test = shop("").await;
    send(&test, "orders", vec![placed("a", 1)]).await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let worker = test.client().worker("billing").await.unwrap();
    let worker = worker
        .on("*", || async {})
        .rebalance_listener(Noted(said.clone()));
    let running = test.start(worker);
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let said = said.lock().unwrap();
    let count = |of: &str| said.iter().filter(|it| *it == of).count();
    assert_eq!(count("assigned orders at earliest"), 4, "{said:?}");
    assert_eq!(count("revoked orders: shutdown"), 4, "{said:?}");
}

#[tokio::test]
async fn a_full_store_is_not_ready_and_goes_on_by_itself() {
    let test = shop("").await;
    send(&test, "orders", (0..5).map(|n| placed("a", n)).collect()).await;
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.on("*", async || {}));
    test.wait_until_drained("billing").await.unwrap();
    let handle = running.control().clone();
    assert!(handle.health().ready);

    let faults = test.backend().faults("orders");
    let full = MemoryFault::refused(ErrorKind::Full);
    faults.chance(Operation::LeaseWrite, 1.0, full);
    let stepped = |ready: bool| {
        let (test, handle) = (&test, &handle);
        async move {
            for _ in 0..10_000 {
                step(test).await;
                if handle.health().ready == ready {
                    return true;
                }
            }
            false
        }
    };
    assert!(stepped(false).await, "ready, and every write is refused");
    let health = handle.health();
    assert!(health.live);
    assert!(
        matches!(health.problems[0], Problem::Unreachable(_)),
        "{health:?}"
    );
    faults.clear();
    assert!(stepped(true).await, "not ready, and writes succeed again");
    handle.stop();
    ended(&test, running).await;
}

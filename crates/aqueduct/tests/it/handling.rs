//! Outcomes of handlers and their effects on events, on memory and a manual clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::testing::TestClient;
use aqueduct::{
    Batch, BatchOptions, Completion, Event, Json, Key, Meta, Outcome, Permanent, State,
    dead_letter::DeadLetterReason, within, worker::Problem,
};

use crate::shop::{Log, SHOP, dead_letters, placed, send, shop};

#[tokio::test]
async fn every_event_is_handled_once_and_in_the_order_of_its_key() {
    let test = shop("").await;
    let mut events = Vec::new();
    for n in 0..50 {
        events.extend((0..10).map(|key| placed(&format!("key-{key}"), n)));
    }
    send(&test, "orders", events).await;
    let log = Log::default();
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.state(log.clone()).on(
        "order.*",
        |Json(n): Json<u32>, Key(key): Key, State(log): State<Log>| async move {
            log.lock().unwrap().push((key.to_string(), n));
        },
    ));
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let mut by_key = BTreeMap::<String, Vec<u32>>::new();
    for (key, n) in log.lock().unwrap().drain(..) {
        by_key.entry(key).or_default().push(n);
    }
    assert_eq!(by_key.len(), 10);
    for (key, seen) in by_key {
        assert_eq!(seen, (0..50).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test]
async fn a_failing_event_is_tried_again_in_place_and_then_buried_with_its_failures() {
    let test = shop("").await;
    send(
        &test,
        "orders",
        vec![placed("a", 1), placed("a", 2), placed("b", 3)],
    )
    .await;
    let log = Log::default();
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.state(log.clone()).on(
        "order.placed",
        |Json(n): Json<u32>, meta: Meta, State(log): State<Log>| async move {
            log.lock().unwrap().push((meta.stream.to_string(), n));
            assert_eq!(meta.group.as_str(), "billing");
            match n {
                1 => Err(format!("attempt {} failed", meta.attempt)),
                _ => Ok(()),
            }
        },
    ));
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let seen: Vec<_> = log.lock().unwrap().iter().map(|(_, n)| *n).collect();
    let of_a: Vec<_> = seen.iter().copied().filter(|n| *n != 3).collect();
    assert_eq!(of_a, [1, 1, 1, 2], "the key waits behind its failing event");
    let dead_letters = dead_letters(&test).await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(
        (dead_letters[0].reason, dead_letters[0].attempts),
        (DeadLetterReason::Exhausted, 3)
    );
    assert_eq!(dead_letters[0].failures.len(), 3);
    assert!(
        dead_letters[0].failures[1]
            .error
            .contains("attempt 2 failed")
    );
}

#[tokio::test]
async fn what_never_can_be_handled_is_buried_at_once() {
    let test = shop("").await;
    let corrupt = Event::bytes("order.placed", Event::JSON, "not JSON").with_key("a");
    send(
        &test,
        "orders",
        vec![
            corrupt,
            placed("b", 1),
            placed("c", 2),
            Event::new("order.cancelled"),
        ],
    )
    .await;
    let calls = Arc::new(AtomicUsize::new(0));
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(
        worker
            .state(calls.clone())
            .on(
                "order.placed",
                |Json(n): Json<u32>, State(calls): State<Arc<AtomicUsize>>| async move {
                    calls.fetch_add(1, Ordering::Relaxed);
                    match n {
                        1 => Err(Permanent::new("no such card")),
                        _ => Ok(()),
                    }
                },
            )
            .on("order.cancelled", |Key(_): Key| async {}),
    );
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let mut found: Vec<_> = dead_letters(&test)
        .await
        .into_iter()
        .map(|dead_letter| (dead_letter.reason.as_str(), dead_letter.message.to_string()))
        .collect();
    found.sort();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].0 == "rejected" && found[0].1.contains("no such card"),
        "{found:?}"
    );
    assert!(
        found[1].0 == "rejected" && found[1].1.contains("no key"),
        "{found:?}"
    );
    assert!(found[2].0 == "undecodable", "{found:?}");
}

#[tokio::test]
async fn panics_and_time_outs_are_failed_attempts() {
    let test = shop("").await;
    send(&test, "orders", vec![placed("a", 1), placed("b", 2)]).await;
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.on(
        "order.placed",
        within(Duration::from_secs(2), |Json(n): Json<u32>| async move {
            match n {
                1 => panic!("out of paper"),
                _ => futures::future::pending::<()>().await,
            }
        }),
    ));
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let mut errors: Vec<_> = dead_letters(&test)
        .await
        .iter()
        .map(|dead_letter| dead_letter.message.to_string())
        .collect();
    errors.sort();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors
            .iter()
            .any(|it| it.contains("panicked: out of paper")),
        "{errors:?}"
    );
    assert!(
        errors.iter().any(|it| it.contains("no response within 2s")),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_handler_says_when_to_come_again() {
    let test = shop("").await;
    send(&test, "orders", vec![placed("a", 1)]).await;
    let times = Arc::new(Mutex::new(Vec::new()));
    let (clock, noted) = (test.clock().clone(), times.clone());
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.on("*", move |meta: Meta| {
        noted.lock().unwrap().push(clock.now());
        async move {
            match meta.attempt {
                1 => Outcome::retry_after(Duration::from_secs(3600)),
                _ => Outcome::Ack,
            }
        }
    }));
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 2);
    assert!(times[1].since(times[0]) >= Duration::from_secs(3600));
}

#[tokio::test]
async fn types_that_no_handler_takes_are_acknowledged_or_refused() {
    for (unhandled, buried) in [
        ("", 0),
        ("unhandled = \"ack\"", 0),
        ("unhandled = \"reject\"", 1),
    ] {
        let test = TestClient::new(&format!("{SHOP}\n{unhandled}"))
            .await
            .unwrap();
        send(&test, "orders", vec![Event::new("unknown"), placed("a", 1)]).await;
        let worker = test.client().worker("billing").await.unwrap();
        let running = test.start(worker.on("order.placed", |_: Event| async {}));
        test.wait_until_drained("billing").await.unwrap();
        running.stop().await.unwrap();
        let dead_letters = dead_letters(&test).await;
        assert_eq!(dead_letters.len(), buried);
        assert!(
            dead_letters
                .iter()
                .all(|it| it.message.contains("no handler takes the type unknown"))
        );
    }
}

#[tokio::test]
async fn records_that_are_not_cloudevents_are_rejected_and_a_problem_unless_the_group_acknowledges_them()
 {
    for (unhandled, pattern, buried, problem) in [
        ("", "order.placed", 1, true),
        ("unhandled = \"reject\"", "order.placed", 1, true),
        ("unhandled = \"ack\"", "order.placed", 0, true),
        ("", "*", 0, false),
        ("", "io.aqueduct.foreign", 0, false),
    ] {
        let test = TestClient::new(&format!("{SHOP}\n{unhandled}"))
            .await
            .unwrap();
        send(
            &test,
            "orders",
            vec![Event::new(Event::FOREIGN).with_data("{}")],
        )
        .await;
        let worker = test.client().worker("billing").await.unwrap();
        let running = test.start(worker.on(pattern, |_: Event| async {}));
        test.wait_until_drained("billing").await.unwrap();
        let health = running.control().health();
        let reported = health
            .problems
            .contains(&Problem::ForeignRecords { count: 1 });
        assert_eq!(reported, problem, "{unhandled} {pattern}: {health:?}");
        assert!(health.ready, "{health:?}");
        running.stop().await.unwrap();
        let dead_letters = dead_letters(&test).await;
        assert_eq!(dead_letters.len(), buried, "{unhandled} {pattern}");
        assert!(
            dead_letters
                .iter()
                .all(|it| it.message.contains("not a CloudEvent"))
        );
    }
}

#[tokio::test]
async fn a_damaged_record_becomes_a_dead_letter_with_the_reason() {
    let test = shop("").await;
    let damaged = Event::new(Event::FOREIGN).damaged_by("`time` is `yesterday`");
    send(&test, "orders", vec![damaged]).await;
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.on("*", |_: Event| async {}));
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let dead_letters = dead_letters(&test).await;
    assert_eq!(dead_letters[0].reason, DeadLetterReason::Undecodable);
    assert_eq!(
        dead_letters[0].message.as_str(),
        "undecodable: `time` is `yesterday`"
    );
}

#[tokio::test]
async fn damaged_records_are_rejected_unless_a_handler_names_them() {
    for (pattern, buried) in [("*", 1), ("io.aqueduct.damaged", 0)] {
        let test = shop("").await;
        send(&test, "orders", vec![Event::new(Event::DAMAGED)]).await;
        let worker = test.client().worker("billing").await.unwrap();
        let running = test.start(worker.on(pattern, |_: Event| async {}));
        test.wait_until_drained("billing").await.unwrap();
        running.stop().await.unwrap();
        let dead_letters = dead_letters(&test).await;
        assert_eq!(dead_letters.len(), buried, "{pattern}");
        assert!(dead_letters.iter().all(|it| it.message.contains("damaged")));
    }
}

#[tokio::test]
async fn batches_are_handled_together_and_settled_one_by_one() {
    let test = shop("").await;
    let mut events: Vec<_> = (0..25).map(|n| placed(&format!("k{n}"), n)).collect();
    events.push(Event::bytes("order.placed", Event::JSON, "not JSON").with_key("broken"));
    send(&test, "orders", events).await;
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let options = BatchOptions::new(10, Duration::from_secs(1));
    let worker = test.client().worker("billing").await.unwrap();
    type Sizes = Arc<Mutex<Vec<usize>>>;
    let running = test.start(worker.state(sizes.clone()).on_batch(
        "order.placed",
        options,
        |batch: Batch<Json<u32>>, State(sizes): State<Sizes>| async move {
            sizes.lock().unwrap().push(batch.len());
            let outcome = |Json(n): &Json<u32>| match n {
                7 => Outcome::reject("seven"),
                _ => Outcome::Ack,
            };
            batch.iter().map(outcome).collect::<Vec<_>>()
        },
    ));
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let sizes = sizes.lock().unwrap().clone();
    assert_eq!(sizes.iter().sum::<usize>(), 25, "{sizes:?}");
    assert!(
        sizes.iter().all(|size| *size <= 10) && sizes.contains(&10),
        "{sizes:?}"
    );
    assert_eq!(dead_letters(&test).await.len(), 2);
}

#[tokio::test]
async fn rejections_without_dead_letters_are_refused_at_start_or_stop_the_worker() {
    let test = shop("[groups.unsaid]\nstream = \"orders\"\n[groups.stop]\nstream = \"orders\"\non_reject = \"stop\"").await;
    let error = test.client().worker("unsaid").await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("groups.unsaid") && said.contains("\"stop\" or \"drop\""),
        "{said}"
    );

    send(&test, "orders", vec![placed("a", 1)]).await;
    let worker = test.client().worker("stop").await.unwrap();
    let running = test.start(worker.on("*", || async { Outcome::reject("no") }));
    let error = running.ended().await.unwrap_err();
    assert!(
        error.to_string().contains("groups.stop") && error.to_string().contains("no"),
        "{error}"
    );
}

#[tokio::test]
async fn an_event_that_comes_twice_is_handled_once_where_the_group_deduplicates() {
    let test =
        shop("[groups.once]\nstream = \"orders\"\non_reject = \"drop\"\nidempotency = true").await;
    let event = placed("a", 1);
    send(&test, "orders", vec![event.clone()]).await;
    send(&test, "orders", vec![event.clone(), placed("a", 2)]).await;
    let claims = Arc::new(Mutex::new(Vec::new()));
    let noted = claims.clone();
    let worker = test.client().worker("once").await.unwrap();
    let running = test.start(worker.on("*", move |done: Completion| {
        noted.lock().unwrap().push(done);
        async {}
    }));
    test.wait_until_drained("once").await.unwrap();
    running.stop().await.unwrap();
    let claims = claims.lock().unwrap();
    assert_eq!(claims.len(), 2);
    assert_eq!(claims[0].claim.id, *event.id());
    assert_eq!(claims[0].scope.group.as_str(), "once");
}

#[tokio::test]
async fn what_handlers_need_is_checked_before_the_start() {
    let test = shop("").await;
    let worker = || test.client().worker("billing");
    let stateless = worker().await.unwrap().on("*", |_: State<u8>| async {});
    let unclaimed = worker().await.unwrap().on("*", |_: Completion| async {});
    let twice = worker()
        .await
        .unwrap()
        .on("a", || async {})
        .on("a", || async {});
    let nothing = worker().await.unwrap();
    let empty = BatchOptions::new(0, Duration::ZERO);
    let batch = worker()
        .await
        .unwrap()
        .on_batch("*", empty, |_: Batch<Event>| async {});
    let states = worker()
        .await
        .unwrap()
        .state(1u8)
        .state(2u8)
        .on("*", || async {});
    for (worker, said) in [
        (stateless, "no state of the type u8"),
        (unclaimed, "set `idempotency`"),
        (twice, "two handlers take the event type `a`"),
        (nothing, "it has no handlers"),
        (batch, "max = 0"),
        (states, "two states of the type u8"),
    ] {
        let error = worker.handle(Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("billing"), "{error}");
        let error = worker.run_to_end().await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn events_from_elsewhere_are_dispatched_with_an_outcome_each() {
    let test = shop("").await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let noted = order.clone();
    let worker = test.client().worker("billing").await.unwrap();
    let worker = worker
        .on("order.placed", move |Json(n): Json<u32>| {
            noted.lock().unwrap().push(n);
            async move {
                match n {
                    2 => Err("later"),
                    _ => Ok(()),
                }
            }
        })
        .on_batch(
            "batch",
            BatchOptions::new(2, Duration::ZERO),
            |all: Batch<Json<u32>>| async move {
                all.iter()
                    .map(|Json(n)| Outcome::reject(format!("{n} of {}", all.len())))
                    .collect::<Vec<_>>()
            },
        );
    let batch = |n: u32| Event::json("batch", &n).unwrap();
    let outcomes = worker
        .handle(vec![
            placed("a", 1),
            placed("a", 2),
            placed("a", 3),
            placed("b", 4),
            Event::new("unknown"),
            Event::bytes("order.placed", Event::JSON, "["),
            batch(7),
            batch(8),
            batch(9),
        ])
        .await
        .unwrap();
    let words: Vec<_> = outcomes.iter().map(Outcome::as_str).collect();
    assert_eq!(
        words,
        [
            "ack", "retry", "retry", "ack", "ack", "reject", "reject", "reject", "reject"
        ]
    );
    assert!(
        !order.lock().unwrap().contains(&3),
        "it is behind one that comes again"
    );
    let reasons: Vec<_> = outcomes[6..].iter().map(|it| format!("{it:?}")).collect();
    assert!(
        reasons[0].contains("7 of 2") && reasons[2].contains("9 of 1"),
        "{reasons:?}"
    );
}

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::BatchProducer as _;
use aqueduct_core::{Backoff, Effect, Error, ErrorKind, Event, Lane, Retry, Runtime};
use aqueduct_producer::{Producer, ProducerOptions, RetryBudget};
use aqueduct_runtime::Simulation;
use futures::{FutureExt as _, SinkExt as _};

use super::faulty::{Faults, Faulty};

fn simulate<T>(work: impl AsyncFnOnce(&Runtime) -> T) -> T {
    let simulation = Simulation::new(7).with_horizon(Duration::from_secs(3600));
    let runtime = simulation.runtime();
    simulation.block_on(work(&runtime)).unwrap()
}

fn event(id: impl ToString, key: &'static str) -> Event {
    Event::new("counted")
        .with_id(id.to_string())
        .with_source("/test")
        .with_key(key)
}

const NONE: Faults = Faults {
    unavailable: 0,
    unknown: 0,
    hang: 0,
    panic: 0,
    throttled: 0,
    event: 0,
    refused: 0,
    slow: 0,
};

fn stored(backend: &Faulty) -> Vec<String> {
    let state = backend.state.lock().unwrap();
    state.stored.iter().map(|it| it.id().to_string()).collect()
}

#[test]
fn the_source_is_stamped_once_and_an_event_without_one_is_refused() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, NONE);
        let bare = Event::new("x").with_id("bare");
        let none = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        let refused = none.send(bare.clone()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        let options = ProducerOptions {
            source: Some("/shop".into()),
            ..ProducerOptions::default()
        };
        let some = Producer::new(backend.clone(), options, runtime);
        some.send(bare).await.unwrap();
        some.send(event("own", "k")).await.unwrap();
        let state = backend.state.lock().unwrap();
        let sources: Vec<&str> = state.stored.iter().map(Event::source).collect();
        assert_eq!(sources, ["/shop", "/test"]);
    });
}

#[test]
fn what_is_too_large_fails_alone_with_what_follows_of_its_key() {
    simulate(async |runtime| {
        let mut backend = Faulty::new(runtime, NONE);
        Arc::get_mut(&mut backend).unwrap().limits.event_bytes = Some(100);
        let producer = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        let large = event("a2", "a").with_data(vec![0; 101]);
        let events = vec![
            event("a1", "a"),
            large.clone(),
            event("b1", "b"),
            event("a3", "a"),
        ];
        let failure = producer.send_all(events).await.unwrap_err();
        let kinds: Vec<Option<ErrorKind>> = failure
            .outcomes
            .iter()
            .map(|it| it.as_ref().err().map(Error::kind))
            .collect();
        assert_eq!(
            kinds,
            [
                None,
                Some(ErrorKind::TooLarge),
                None,
                Some(ErrorKind::Blocked)
            ]
        );
        assert_eq!(failure.events, [(1, large), (3, event("a3", "a"))]);
        assert_eq!(failure.stored(), 2);
        let whole = Error::from(failure).to_string();
        assert!(
            whole.contains("2 of 4") && whole.contains("101 bytes"),
            "{whole}"
        );
        assert_eq!(stored(&backend), ["a1", "b1"]);
        producer.send(event("a3", "a")).await.unwrap();
    });
}

#[test]
fn a_full_buffer_makes_callers_wait_in_their_order() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, Faults { hang: 1000, ..NONE });
        let options = ProducerOptions {
            max_buffered_events: 3,
            max_batch_events: 1,
            request_timeout: Duration::from_secs(10),
            ..ProducerOptions::default()
        };
        let producer = Producer::new(backend.clone(), options, runtime);
        let mut pending = Vec::new();
        for n in 0..3 {
            pending.push(
                producer
                    .enqueue(event(n, "k"))
                    .now_or_never()
                    .unwrap()
                    .unwrap(),
            );
        }
        let fourth = runtime.spawn({
            let producer = producer.clone();
            async move { producer.enqueue(event(3, "other")).await }
        });
        runtime.sleep(Duration::from_secs(5)).await;
        assert_eq!(
            backend.state.lock().unwrap().requests,
            1,
            "one run of a key is in flight"
        );
        assert!(producer.enqueue(event(9, "late")).now_or_never().is_none());
        let before = runtime.now();
        let fourth = fourth.await.unwrap().unwrap();
        assert!(runtime.now().since(before) >= Duration::from_secs(4));
        let kinds: Vec<ErrorKind> = futures::future::join_all(pending)
            .await
            .into_iter()
            .map(|it| it.unwrap_err().kind())
            .collect();
        assert_eq!(
            kinds,
            [ErrorKind::TimedOut, ErrorKind::Blocked, ErrorKind::Blocked]
        );
        let unknown = fourth.await.unwrap_err();
        assert_eq!(
            (unknown.kind(), unknown.effect()),
            (ErrorKind::TimedOut, Effect::Unknown)
        );
    });
}

#[test]
fn a_hot_lane_does_not_stop_the_others() {
    simulate(async |runtime| {
        let (hot, cool) = ("a", "b");
        let backend = Faulty::new(
            runtime,
            Faults {
                throttled: 1000,
                ..NONE
            },
        );
        assert_ne!(backend.lane(&event(0, hot)), backend.lane(&event(0, cool)));
        let options = ProducerOptions {
            max_batch_events: 10,
            ..ProducerOptions::default()
        };
        let producer = Producer::new(backend.clone(), options, runtime);
        let mut waiting = Vec::new();
        for n in 0..200 {
            waiting.push(
                producer
                    .enqueue(event(format!("hot-{n:03}"), hot))
                    .await
                    .unwrap(),
            );
        }
        runtime.sleep(Duration::from_millis(100)).await;
        // From here on the lane is paused; what else is sent succeeds at once.
        *backend.faults.lock().unwrap() = NONE;
        let before = runtime.now();
        for n in 0..200 {
            producer
                .send(event(format!("cool-{n:03}"), cool))
                .await
                .unwrap();
        }
        let took = runtime.now().since(before);
        assert!(took < Duration::from_millis(20), "{took:?}");
        for outcome in futures::future::join_all(waiting).await {
            outcome.unwrap();
        }
        let hot: Vec<String> = stored(&backend)
            .into_iter()
            .filter(|it| it.starts_with("hot"))
            .collect();
        assert_eq!(hot.len(), 200);
        assert!(hot.is_sorted(), "{hot:?}");
    });
}

#[test]
fn a_storm_costs_no_more_than_its_budget() {
    simulate(async |runtime| {
        let backend = Faulty::new(
            runtime,
            Faults {
                unavailable: 1000,
                ..NONE
            },
        );
        let options = ProducerOptions {
            max_batch_events: 1,
            attempts: 1000,
            deadline: Duration::from_secs(60),
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(5)),
            budget: RetryBudget {
                share: 0.2,
                per_second: 5.0,
                reserve: 20.0,
            },
            ..ProducerOptions::default()
        };
        let producer = Producer::new(backend.clone(), options, runtime);
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let mut waiting = Vec::new();
        for n in 0..100 {
            waiting.push(producer.enqueue(event(n, keys[n % 10])).await.unwrap());
        }
        for outcome in waiting {
            let error = outcome.await.unwrap_err();
            let told = error.retry() == Retry::Exhausted || error.is(ErrorKind::Blocked);
            assert!(told, "{error:?}");
        }
        let seconds = runtime.now().elapsed_since_origin().as_secs_f64();
        assert!(seconds < 65.0, "{seconds}");
        // Of each key one event was tried: ten fresh requests.
        let most = 10.0 + 20.0 + 0.2 * 10.0 + 5.0 * seconds;
        let requests = backend.state.lock().unwrap().requests;
        assert!(
            requests > 100 && requests as f64 <= most,
            "{requests} of {most}"
        );
    });
}

#[test]
fn a_panic_is_an_unknown_outcome() {
    simulate(async |runtime| {
        let backend = Faulty::new(
            runtime,
            Faults {
                panic: 1000,
                ..NONE
            },
        );
        let producer = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        let error = producer.send(event(1, "k")).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Internal, Effect::Unknown)
        );
        *backend.faults.lock().unwrap() = NONE;
        producer.send(event(2, "k")).await.unwrap();
    });
}

#[test]
fn a_dropped_send_is_not_recalled_and_its_failure_comes_with_the_flush() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, Faults { slow: 1000, ..NONE });
        let producer = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        assert!(producer.send(event(1, "k")).now_or_never().is_none());
        producer.flush().await.unwrap();
        assert_eq!(stored(&backend), ["1"]);
        backend.faults.lock().unwrap().refused = 1000;
        assert!(producer.send(event(2, "k")).now_or_never().is_none());
        assert_eq!(
            producer.flush().await.unwrap_err().kind(),
            ErrorKind::Invalid
        );
        producer.flush().await.unwrap();
        backend.faults.lock().unwrap().refused = 0;
        producer.send(event(3, "k")).await.unwrap();
    });
}

#[test]
fn closing_drains_and_later_sends_are_closed() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, Faults { slow: 1000, ..NONE });
        let producer = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        let pending = producer.enqueue(event(1, "k")).await.unwrap();
        producer.close().await.unwrap();
        pending.await.unwrap();
        assert!(backend.state.lock().unwrap().closed);
        assert_eq!(
            producer.send(event(2, "k")).await.unwrap_err().kind(),
            ErrorKind::Closed
        );
        let failure = producer.send_all(vec![event(3, "k"); 2]).await.unwrap_err();
        assert_eq!((failure.outcomes.len(), failure.events.len()), (2, 2));
        producer.close().await.unwrap();
    });
}

#[test]
fn closing_gives_up_after_its_time_and_says_how_much_is_left() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, Faults { hang: 1000, ..NONE });
        let options = ProducerOptions {
            drain: Duration::from_secs(3),
            ..ProducerOptions::default()
        };
        let producer = Producer::new(backend, options, runtime);
        let sent = producer.enqueue(event(1, "k")).await.unwrap();
        let queued = producer.enqueue(event(2, "k")).await.unwrap();
        let error = producer.close().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("2 events"), "{error}");
        assert_eq!(runtime.now().elapsed_since_origin().as_secs(), 3);
        let (sent, queued) = (sent.await.unwrap_err(), queued.await.unwrap_err());
        assert_eq!(
            (sent.kind(), sent.effect()),
            (ErrorKind::Closed, Effect::Unknown)
        );
        assert_eq!(
            (queued.kind(), queued.effect()),
            (ErrorKind::Closed, Effect::None)
        );
    });
}

#[test]
fn events_gather_while_a_request_is_in_flight_and_one_that_hangs_stops_nobody() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, Faults { hang: 1000, ..NONE });
        let producer = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        let stuck = producer.enqueue(event("stuck", "stuck")).await.unwrap();
        *backend.faults.lock().unwrap() = NONE;
        let before = runtime.now();
        let sends = (0..100).map(|n| producer.send(event(n, "k")));
        for outcome in futures::future::join_all(sends).await {
            outcome.unwrap();
        }
        assert!(runtime.now().since(before) <= Duration::from_millis(5));
        assert_eq!(
            backend.state.lock().unwrap().requests,
            2,
            "they share one request"
        );
        drop(stuck);
    });
}

#[test]
fn a_call_that_fills_a_request_waits_for_its_keys_in_one_piece() {
    simulate(async |runtime| {
        let slow = Faults { slow: 1000, ..NONE };
        let backend = Faulty::new(runtime, slow);
        let options = ProducerOptions {
            max_batch_events: 20,
            ..ProducerOptions::default()
        };
        let producer = Producer::new(backend.clone(), options, runtime);
        let keys = ["a", "b", "c", "d", "e"];
        let call = |first: usize| (first..first + 20).map(|n| event(n, keys[n % 5])).collect();
        let calls = (0..4).map(|n| producer.send_all(call(n * 20)));
        for outcome in futures::future::join_all(calls).await {
            outcome.unwrap();
        }
        assert_eq!(backend.state.lock().unwrap().requests, 4);
        let sent: Vec<String> = (0..80).map(|n| n.to_string()).collect();
        assert_eq!(stored(&backend), sent);
    });
}

#[test]
fn a_call_whose_first_keys_are_stuck_is_taken_apart_in_time() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, Faults { hang: 1000, ..NONE });
        let options = ProducerOptions {
            max_batch_events: 10,
            ..ProducerOptions::default()
        };
        let producer = Producer::new(backend.clone(), options, runtime);
        let stuck = producer.enqueue(event("stuck", "stuck")).await.unwrap();
        *backend.faults.lock().unwrap() = NONE;
        let before = runtime.now();
        let events = (0..10).map(|n| event(n, if n < 9 { "stuck" } else { "free" }));
        let mut call = std::pin::pin!(producer.send_all(events.collect()));
        assert!(futures::poll!(call.as_mut()).is_pending());
        let behind = producer.send(event("behind", "other")).await;
        behind.unwrap();
        assert!(runtime.now().since(before) <= Duration::from_millis(55));
        assert_eq!(stored(&backend), ["stuck", "9", "behind"]);
        drop(stuck);
    });
}

#[test]
fn a_stream_and_a_sink_send_in_order() {
    simulate(async |runtime| {
        let backend = Faulty::new(
            runtime,
            Faults {
                slow: 500,
                event: 200,
                ..NONE
            },
        );
        let producer = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        let events = (0..50).map(|n| event(format!("{n:03}"), "k"));
        let sent = producer
            .send_stream(futures::stream::iter(events))
            .await
            .unwrap();
        assert_eq!(sent, 50);
        let mut sink = producer.sink();
        for n in 50..100 {
            sink.feed(event(format!("{n:03}"), "k")).await.unwrap();
        }
        sink.flush().await.unwrap();
        let stored = stored(&backend);
        assert_eq!(stored.len(), 100);
        assert!(stored.is_sorted());
        backend.faults.lock().unwrap().refused = 1000;
        sink.feed(event("bad", "k")).await.unwrap();
        assert_eq!(sink.flush().await.unwrap_err().kind(), ErrorKind::Invalid);
        let all_bad = futures::stream::iter((0..9).map(|n| event(n, "z")));
        assert!(producer.send_stream(all_bad).await.is_err());
    });
}

#[test]
fn a_sink_reports_every_failure_and_stores_nothing_of_a_key_behind_one() {
    simulate(async |runtime| {
        let faults = Faults {
            refused: 1000,
            ..NONE
        };
        let backend = Faulty::new(runtime, faults);
        let producer = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        let mut sink = producer.sink();
        sink.feed(event("a0", "a")).await.unwrap();
        sink.feed(event("b0", "b")).await.unwrap();
        runtime.sleep(Duration::from_secs(1)).await;
        backend.faults.lock().unwrap().refused = 0;
        // Both have failed by now, and nothing has told so: the next of the key must not overtake.
        drop(producer.enqueue(event("a1", "a")).await.unwrap());
        let error = sink.flush().await.unwrap_err();
        assert!(error.to_string().contains("2 events failed"), "{error}");
        let failures = sink.take_failures();
        let ids: Vec<String> = failures.iter().map(|it| it.0.id().to_string()).collect();
        assert_eq!(ids, ["a0", "b0"]);
        assert_eq!(stored(&backend), Vec::<String>::new());
        for (event, _) in failures {
            sink.feed(event).await.unwrap();
        }
        sink.flush().await.unwrap();
        let mut kept = stored(&backend);
        kept.sort_unstable();
        assert_eq!(kept, ["a0", "b0"]);
    });
}

#[test]
fn a_sink_keeps_the_limits_in_bytes() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, Faults { hang: 1000, ..NONE });
        let options = ProducerOptions {
            max_buffered_bytes: 10_000,
            max_batch_bytes: 4_000,
            ..ProducerOptions::default()
        };
        let producer = Producer::new(backend.clone(), options, runtime);
        let mut sink = producer.sink();
        let mut taken = 0;
        while sink
            .feed(event(taken, "k").with_data(vec![0; 1_500]))
            .now_or_never()
            .is_some()
        {
            taken += 1;
            assert!(taken < 100, "the buffer grows without end");
        }
        // As many as fit, and one more whose size was not known before.
        assert!((6..=7).contains(&taken), "{taken}");
        *backend.faults.lock().unwrap() = NONE;
        let _ = producer.close().await;
        let state = backend.state.lock().unwrap();
        assert!(state.largest_request <= 4_000, "{}", state.largest_request);
    });
}

#[test]
fn a_producer_stands_where_the_contract_wants_one() {
    simulate(async |runtime| {
        let backend = Faulty::new(runtime, Faults { event: 300, ..NONE });
        let producer = Producer::new(backend.clone(), ProducerOptions::default(), runtime);
        let events: Vec<Event> = (0..20).map(|n| event(n, "k")).collect();
        let report = aqueduct_core::BatchProducer::send_batch(&producer, &events).await;
        assert_eq!(report.into_result().unwrap().len(), 20);
        assert!(producer.send_all(Vec::new()).await.unwrap().is_empty());
        assert_ne!(producer.lane(&event(1, "a")), Lane(u64::MAX));
    });
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let with = |change: fn(&mut ProducerOptions)| {
        let mut options = ProducerOptions::default();
        change(&mut options);
        options
            .validate()
            .err()
            .map(|it| it.to_string())
            .unwrap_or_default()
    };
    assert_eq!(with(|_| ()), "");
    assert!(with(|it| it.in_flight = 0).contains("in_flight = 0"));
    assert!(with(|it| it.attempts = 0).contains("attempts = 0"));
    assert!(with(|it| it.request_timeout = Duration::ZERO).contains("request_timeout"));
    assert!(with(|it| it.max_buffered_events = 10).contains("max_batch_events = 500"));
    assert!(with(|it| it.budget.reserve = 0.0).contains("budget.reserve"));
}

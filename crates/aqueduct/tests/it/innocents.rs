//! Only a failure of its own handler makes an event a dead letter.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::dead_letter::DeadLetterStoreExt as _;
use aqueduct::testing::{Running, TestClient};
use aqueduct::{DeadLetterQuery, Event, Json, Meta, State, within};

use crate::shop::{dead_letters, placed, send};

fn shop(attempts: u32, more: &str) -> String {
    format!(
        r#"
[client]
source = "/shop"
[streams.orders]
url = "memory:"
[streams.orders-dlq]
url = "memory:"
[groups.billing]
stream = "orders"
dead_letters = "orders-dlq"
redelivery = {{ attempts = {attempts}, first = "20ms", max = "50ms" }}
{more}
"#
    )
}

#[tokio::test]
async fn an_event_behind_a_failing_one_of_its_key_is_handled_and_is_no_dead_letter() {
    for attempts in [1, 2] {
        for how in ["error", "panic", "time-out"] {
            let test = TestClient::new(&shop(attempts, "")).await.unwrap();
            send(&test, "orders", (0..6).map(|n| placed("a", n)).collect()).await;
            let ran = Arc::new(Mutex::new(Vec::<u32>::new()));
            let worker = test.client().worker("billing").await.unwrap();
            let fails = move |Json(n): Json<u32>, State(ran): State<Arc<Mutex<Vec<u32>>>>| async move {
                ran.lock().unwrap().push(n);
                match (n, how) {
                    (0, "error") => Err("poison"),
                    (0, "panic") => panic!("poison"),
                    (0, _) => futures::future::pending().await,
                    _ => Ok(()),
                }
            };
            let worker = worker.state(ran.clone());
            let running = test.start(worker.on("*", within(Duration::from_secs(1), fails)));
            test.wait_until_drained("billing").await.unwrap();
            running.stop().await.unwrap();
            let mut expected = vec![0; attempts as usize];
            expected.extend([1, 2, 3, 4, 5]);
            assert_eq!(*ran.lock().unwrap(), expected, "{attempts} attempts, {how}");
            let dead: Vec<u32> = dead_letters(&test)
                .await
                .iter()
                .map(|it| it.event.decode_json().unwrap())
                .collect();
            assert_eq!(dead, [0], "{attempts} attempts, {how}");
        }
    }
}

/// Gives the tasks turns, then moves the clock to its next timer.
pub(crate) async fn step(test: &TestClient) {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    if let Some(next) = test.clock().next_timer() {
        test.clock().advance_to(next);
    }
}

pub(crate) async fn ended(test: &TestClient, running: Running) {
    let mut ended = std::pin::pin!(running.ended());
    loop {
        match futures::poll!(&mut ended) {
            std::task::Poll::Ready(ended) => return ended.unwrap(),
            std::task::Poll::Pending => step(test).await,
        }
    }
}

#[tokio::test]
async fn handlers_that_a_stop_or_an_abort_cancels_have_not_failed() {
    for abort in [false, true] {
        let test = TestClient::new(&shop(2, "drain = \"300ms\""))
            .await
            .unwrap();
        send(&test, "orders", vec![placed("a", 1), placed("a", 2)]).await;
        let begun = Arc::new(AtomicU32::new(0));
        for stop in 1..=6 {
            let count = begun.clone();
            let worker = test.client().worker("billing").await.unwrap();
            let running = test.start(worker.on("*", move |meta: Meta| {
                assert_eq!(meta.attempt, 1);
                count.fetch_add(1, Ordering::SeqCst);
                futures::future::pending::<()>()
            }));
            while begun.load(Ordering::SeqCst) < stop {
                step(&test).await;
            }
            running.control().stop();
            if abort {
                running.control().abort();
            }
            ended(&test, running).await;
            assert_eq!(begun.load(Ordering::SeqCst), stop, "handled once a life");
        }
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let noted = attempts.clone();
        let worker = test.client().worker("billing").await.unwrap();
        let running = test.start(worker.on("*", move |Json(n): Json<u32>, meta: Meta| {
            noted.lock().unwrap().push((n, meta.attempt));
            async {}
        }));
        test.wait_until_drained("billing").await.unwrap();
        running.stop().await.unwrap();
        assert_eq!(
            *attempts.lock().unwrap(),
            [(1, 1), (2, 1)],
            "abort: {abort}"
        );
        assert_eq!(dead_letters(&test).await, []);
    }
}

#[tokio::test]
async fn a_redriven_dead_letter_is_for_its_group_alone_without_any_layer_of_the_others() {
    let shipping = "[groups.shipping]\nstream = \"orders\"\non_reject = \"stop\"";
    let test = TestClient::new(&shop(1, shipping)).await.unwrap();
    send(&test, "orders", vec![placed("a", 1)]).await;
    let (billed, shipped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (billing, shipping) = (billed.clone(), shipped.clone());
    let worker = test.client().worker("billing").await.unwrap();
    let bill = test.start(worker.on("*", move |_: Event| {
        let failed = billing.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if failed { Err("no route") } else { Ok(()) } }
    }));
    let worker = test.client().worker("shipping").await.unwrap();
    let ship = test.start(worker.on("*", move |_: Event| {
        shipping.fetch_add(1, Ordering::SeqCst);
        async {}
    }));
    test.wait_until_drained("billing").await.unwrap();
    test.wait_until_drained("shipping").await.unwrap();
    let dead_letters = test.client().dead_letters("billing").await.unwrap();
    let listed = dead_letters
        .list(&DeadLetterQuery::default())
        .await
        .unwrap();
    let orders = test.client().producer("orders").await.unwrap();
    for sent in dead_letters.redrive(&[listed[0].id.clone()], &orders).await {
        sent.unwrap();
    }
    test.wait_until_drained("billing").await.unwrap();
    test.wait_until_drained("shipping").await.unwrap();
    bill.stop().await.unwrap();
    ship.stop().await.unwrap();
    assert_eq!(
        billed.load(Ordering::SeqCst),
        2,
        "it failed, and was redriven"
    );
    assert_eq!(shipped.load(Ordering::SeqCst), 1, "it is not for shipping");
}

#[tokio::test]
async fn dead_letters_say_each_error_once() {
    let test = TestClient::new(&shop(1, "")).await.unwrap();
    send(&test, "orders", vec![placed("a", 1)]).await;
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(worker.on("*", || async {
        Err::<(), _>(std::io::Error::other("no route"))
    }));
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();
    let dead = dead_letters(&test).await;
    assert_eq!(dead[0].message.as_str(), "no route");
    assert_eq!(dead[0].failures[0].error.as_str(), "no route");
}

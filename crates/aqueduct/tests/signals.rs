//! SIGTERM drains a worker; a second one ends it at once. Alone in its process, since signals go to
//! all of it.
#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach helpers
#![cfg(unix)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aqueduct::{Client, Environment, Event, Json};

const SHOP: &str = r#"
[client]
source = "/shop"
[streams.orders]
url = "memory:"
[groups.billing]
stream = "orders"
on_reject = "stop"
"#;

fn terminate_this_process() {
    let pid = std::process::id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(sent.unwrap().success());
}

async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap();
}

#[tokio::test]
async fn one_signal_drains_and_a_second_one_ends() {
    let builder = Client::builder()
        .toml(SHOP)
        .environment(Environment::empty());
    let client = builder.build().await.unwrap();
    let orders = client.producer("orders").await.unwrap();
    let (begun, finished) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let gate = Arc::new(futures::lock::Mutex::new(()));
    let start = async || {
        let (begun, finished, gate) = (begun.clone(), finished.clone(), gate.clone());
        let worker = client.worker("billing").await.unwrap();
        let worker = worker.on("*", move |Json(_): Json<u32>| {
            begun.fetch_add(1, Ordering::SeqCst);
            let (finished, gate) = (finished.clone(), gate.clone());
            async move {
                drop(gate.lock().await);
                finished.fetch_add(1, Ordering::SeqCst);
            }
        });
        let handle = worker.control();
        (client.runtime().spawn(worker.run()), handle)
    };

    orders
        .send(Event::json("order.placed", &1).unwrap())
        .await
        .unwrap();
    let closed = gate.clone().lock_owned().await;
    let (run, handle) = start().await;
    until(|| begun.load(Ordering::SeqCst) == 1).await;
    terminate_this_process();
    until(|| {
        handle
            .health()
            .problems
            .contains(&aqueduct::worker::Problem::Draining)
    })
    .await;
    assert_eq!(
        finished.load(Ordering::SeqCst),
        0,
        "the drain waits for the handler"
    );
    drop(closed);
    run.await.unwrap().unwrap();
    assert_eq!(finished.load(Ordering::SeqCst), 1);

    orders
        .send(Event::json("order.placed", &2).unwrap())
        .await
        .unwrap();
    let _closed = gate.clone().lock_owned().await;
    let (run, handle) = start().await;
    until(|| begun.load(Ordering::SeqCst) == 2).await;
    terminate_this_process();
    until(|| {
        handle
            .health()
            .problems
            .contains(&aqueduct::worker::Problem::Draining)
    })
    .await;
    terminate_this_process();
    tokio::time::timeout(Duration::from_secs(5), run)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(
        finished.load(Ordering::SeqCst),
        1,
        "it ended without waiting"
    );
}

//! The worker takes time, tasks and randomness from its runtime: the same seed gives the same run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::{Client, Environment, Event, Json, Key, Outcome, Runtime, State};
use aqueduct_runtime::Simulation;

const SHOP: &str = r#"
[client]
source = "/shop"
[streams.orders]
url = "memory:"
[groups.billing]
stream = "orders"
on_reject = "drop"
concurrency = 5
timeout = "2s"
"#;

const KEYS: u32 = 7;
const EACH: u32 = 12;

type Log = Arc<Mutex<Vec<(String, u32)>>>;

/// Handlers that take their time, fail at random, and now and then hang; returns who finished which
/// event.
async fn shop(runtime: Runtime) -> Vec<(String, u32)> {
    let builder = Client::builder()
        .toml(SHOP)
        .environment(Environment::empty());
    let client = builder.runtime(runtime.clone()).build().await.unwrap();
    let orders = client.producer("orders").await.unwrap();
    let events = (0..EACH).flat_map(|n| (0..KEYS).map(move |key| (key, n)));
    // Ids of our own: those that are drawn come from the machine, not from the seed.
    let events = events.map(|(key, n)| {
        let event = Event::json("order.placed", &n)
            .unwrap()
            .with_key(format!("key-{key}"));
        event.with_id(format!("{key}-{n}"))
    });
    orders.send_all(events.collect()).await.unwrap();
    let log = Log::default();
    let worker = client.worker("billing").await.unwrap();
    let worker = worker.state(log.clone()).state(runtime.clone()).on(
        "order.*",
        |Json(n): Json<u32>,
         Key(key): Key,
         State(log): State<Log>,
         State(runtime): State<Runtime>| async move {
            runtime
                .sleep(runtime.jitter(Duration::from_millis(500)))
                .await;
            match runtime.random() % 10 {
                0 => return Outcome::retry(),
                1 => runtime.sleep(Duration::from_secs(60)).await,
                _ => log.lock().unwrap().push((key.to_string(), n)),
            }
            Outcome::Ack
        },
    );
    let handle = worker.control();
    let running = runtime.spawn(worker.run_to_end());
    while log.lock().unwrap().len() < (KEYS * EACH) as usize {
        runtime.sleep(Duration::from_millis(100)).await;
    }
    handle.stop();
    running.await.unwrap().unwrap();
    let log = log.lock().unwrap();
    log.clone()
}

#[test]
fn a_seed_is_a_run_and_every_run_keeps_the_order_of_each_key() {
    let expected: Vec<u32> = (0..EACH).collect();
    for seed in 0..40 {
        let run = || {
            let simulation = Simulation::new(seed);
            let runtime = simulation.runtime();
            simulation.block_on(shop(runtime)).unwrap()
        };
        let first = run();
        let mut by_key = BTreeMap::<_, Vec<u32>>::new();
        for (key, n) in &first {
            by_key.entry(key).or_default().push(*n);
        }
        for (key, seen) in by_key {
            assert_eq!(seen, expected, "seed {seed}, {key}");
        }
        if seed % 8 == 0 {
            assert_eq!(first, run(), "seed {seed}");
        }
    }
}

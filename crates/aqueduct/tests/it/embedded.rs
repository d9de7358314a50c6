//! Producing and consuming on the embedded store: files, restarts, several members.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::sqlite::{Completed, SqliteOptions};
use aqueduct::{
    Client, Completion, DeadLetterQuery, Environment, Event, Json, Key, SqliteBackend, State,
};

const SHOP: &str = r#"
[client]
source = "/shop"

[streams.orders]
url = "sqlite:shop.db"

[groups.billing]
stream = "orders"
requires = ["key_order", "replay", "durable", "transactions", "dead_letters"]
idempotency = true
dead_letters = "sqlite:shop.db"
redelivery = { attempts = 2, first = "1ms", max = "1ms" }
commit_interval = "100ms"
commit_min = "50ms"
"#;

async fn shop(folder: &Path, sqlite: &SqliteBackend) -> Client {
    let builder = Client::builder()
        .toml(SHOP)
        .folder(folder)
        .backend("sqlite", sqlite.clone());
    let client = builder
        .environment(Environment::empty())
        .build()
        .await
        .unwrap();
    client.check().unwrap();
    client
}

async fn until(client: &Client, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            client.runtime().sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .unwrap();
}

type Log = Arc<Mutex<Vec<(String, u32)>>>;

#[tokio::test]
async fn two_members_share_the_work_and_a_restart_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::default();
    let mut sent = 0;
    for _ in 0..2 {
        let client = shop(folder.path(), &SqliteBackend::new()).await;
        let orders = client.producer("orders").await.unwrap();
        let events = (sent..sent + 100).map(|n| {
            Event::json("order.placed", &n)
                .unwrap()
                .with_key(format!("{}", n % 9))
        });
        orders.send_all(events.collect()).await.unwrap();
        sent += 100;
        let mut workers = Vec::new();
        for _ in 0..2 {
            let worker = client
                .worker("billing")
                .await
                .unwrap()
                .state(log.clone())
                .on(
                    "order.*",
                    |Json(n): Json<u32>, Key(key): Key, State(log): State<Log>| async move {
                        log.lock().unwrap().push((key.to_string(), n));
                    },
                );
            workers.push((
                worker.control(),
                client.runtime().spawn(worker.run_to_end()),
            ));
        }
        let expected = sent as usize;
        until(&client, async || log.lock().unwrap().len() >= expected).await;
        for (handle, _) in &workers {
            handle.stop();
        }
        for (_, running) in workers {
            running.await.unwrap().unwrap();
        }
        client.close().await.unwrap();
    }
    let mut by_key = BTreeMap::<String, Vec<u32>>::new();
    for (key, n) in log.lock().unwrap().drain(..) {
        by_key.entry(key).or_default().push(n);
    }
    for (key, seen) in by_key {
        let expected: Vec<u32> = (0..200).filter(|n| format!("{}", n % 9) == key).collect();
        assert_eq!(seen, expected, "{key}");
    }
}

#[tokio::test]
async fn the_completion_and_the_handlers_writes_are_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteBackend::new();
    let client = shop(folder.path(), &sqlite).await;
    let path = folder.path().join("shop.db");
    let store = sqlite
        .store(path, SqliteOptions::default(), client.runtime())
        .await
        .unwrap();
    store
        .transaction(|tx| {
            let made = tx.execute_batch("CREATE TABLE charges (n INTEGER)");
            made.map_err(|e| aqueduct::Error::config(e.to_string()))
        })
        .await
        .unwrap();
    let event = Event::json("order.placed", &7).unwrap().with_key("a");
    let orders = client.producer("orders").await.unwrap();
    orders.send_all(vec![event.clone(), event]).await.unwrap();
    orders
        .send(Event::json("order.placed", &0).unwrap().with_key("b"))
        .await
        .unwrap();

    let worker = client
        .worker("billing")
        .await
        .unwrap()
        .state(store.clone())
        .on(
            "order.placed",
            |Json(n): Json<u32>,
             done: Completion,
             State(store): State<aqueduct::sqlite::SqliteStore>| async move {
                let inner = store.clone();
                let charge = store.transaction(move |tx| {
                    if inner.complete_in(tx, &done.scope, &done.claim)? == Completed::Already {
                        return Ok(());
                    }
                    tx.execute("INSERT INTO charges VALUES (?1)", [n])
                        .map_err(|e| aqueduct::Error::config(e.to_string()))?;
                    match n {
                        0 => Err(aqueduct::Error::config("declined")),
                        _ => Ok(()),
                    }
                });
                charge.await
            },
        );
    let handle = worker.control();
    let running = client.runtime().spawn(worker.run_to_end());
    let dead_letters = client.dead_letters("billing").await.unwrap();
    until(&client, async || {
        dead_letters
            .list(&DeadLetterQuery::default())
            .await
            .unwrap()
            .len()
            == 1
    })
    .await;
    let name = aqueduct::GroupName::from("billing");
    let admin = client.admin("orders").await.unwrap();
    until(&client, async || {
        admin
            .lag(&name)
            .await
            .unwrap()
            .iter()
            .all(|it| it.events == 0)
    })
    .await;
    handle.stop();
    running.await.unwrap().unwrap();
    let charges = store
        .read(|connection| {
            let count = connection.query_row("SELECT count(*) FROM charges", [], |row| row.get(0));
            count.map_err(|e| aqueduct::Error::config(e.to_string()))
        })
        .await;
    let charges: i64 = charges.unwrap();
    assert_eq!(
        charges, 1,
        "twice sent, once charged; what was declined is rolled back"
    );
    client.close().await.unwrap();
}

#[tokio::test]
async fn an_effect_its_record_and_its_events_are_one_call_and_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteBackend::new();
    let config = format!("{SHOP}\n[streams.payments]\nurl = \"sqlite:shop.db\"");
    let client = Client::builder()
        .toml(config)
        .folder(folder.path())
        .backend("sqlite", sqlite.clone())
        .environment(Environment::empty())
        .build()
        .await
        .unwrap();
    let store = sqlite
        .store(
            folder.path().join("shop.db"),
            SqliteOptions::default(),
            client.runtime(),
        )
        .await
        .unwrap();
    let orders = client.producer("orders").await.unwrap();
    client.producer("payments").await.unwrap();
    let event = |n: u32| Event::json("order.placed", &n).unwrap().with_key("a");
    // Twice, as after a crash of its sender.
    let first = event(1);
    orders
        .send_all(vec![first.clone(), first, event(0), event(2)])
        .await
        .unwrap();
    type Runs = Arc<Mutex<Vec<u32>>>;
    let runs = Runs::default();
    let charge = |Json(n): Json<u32>,
                  cause: Event,
                  done: Completion,
                  State(store): State<aqueduct::sqlite::SqliteStore>,
                  State(runs): State<Runs>| async move {
        let handled = store.handle_once(done, move |tx| {
            tx.execute_batch("CREATE TABLE IF NOT EXISTS charges (n INTEGER)")
                .and_then(|()| tx.execute("INSERT INTO charges VALUES (?1)", [n]))
                .map_err(|e| aqueduct::Error::config(e.to_string()))?;
            runs.lock().unwrap().push(n);
            if n == 0 {
                return Err(aqueduct::Error::config("declined"));
            }
            let paid = Event::json("order.paid", &n)?
                .with_source("/shop")
                .caused_by(&cause, 0);
            Ok(vec![("payments".into(), paid)])
        });
        handled.await.map(drop)
    };
    let worker = client.worker("billing").await.unwrap();
    let worker = worker
        .state(store.clone())
        .state(runs.clone())
        .on("order.placed", charge);
    let control = worker.control();
    let running = client.runtime().spawn(worker.run_to_end());
    let name = aqueduct::GroupName::from("billing");
    let admin = client.admin("orders").await.unwrap();
    until(&client, async || {
        admin
            .lag(&name)
            .await
            .unwrap()
            .iter()
            .all(|it| it.events == 0)
    })
    .await;
    control.stop();
    running.await.unwrap().unwrap();
    assert_eq!(
        *runs.lock().unwrap(),
        [1, 0, 0, 2],
        "what was handled is not called again"
    );
    let charges = store.read(|connection| {
        let sum = connection.query_row("SELECT group_concat(n) FROM charges", [], |row| row.get(0));
        sum.map_err(|e| aqueduct::Error::config(e.to_string()))
    });
    let charges: String = charges.await.unwrap();
    assert_eq!(charges, "1,2", "what was declined is rolled back");
    let mut payments = client
        .reader("payments", aqueduct::Start::Earliest)
        .await
        .unwrap();
    for expected in [1, 2] {
        let read = payments.next().await.unwrap().unwrap();
        assert_eq!(read.event.decode_json::<u32>().unwrap(), expected);
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn events_published_in_a_transaction_have_the_source_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteBackend::new();
    let client = shop(folder.path(), &sqlite).await;
    client.producer("orders").await.unwrap();
    let path = folder.path().join("shop.db");
    let store = sqlite
        .store(path, SqliteOptions::default(), client.runtime())
        .await
        .unwrap();
    let within = store.clone();
    store
        .transaction(move |tx| {
            let event = Event::json("order.placed", &7)?;
            within.publish_in(tx, &"orders".into(), &[event])
        })
        .await
        .unwrap();
    let mut reader = client
        .reader("orders", aqueduct::Start::Earliest)
        .await
        .unwrap();
    let read = reader.next().await.unwrap().unwrap();
    assert_eq!(read.event.source(), "/shop");
}

#[tokio::test]
async fn after_close_a_copy_of_the_one_file_is_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let client = shop(folder.path(), &SqliteBackend::new()).await;
    let orders = client.producer("orders").await.unwrap();
    for n in 0..20 {
        let event = Event::json("order.placed", &n).unwrap();
        orders.send(event).await.unwrap();
    }
    client.close().await.unwrap();
    let copied = tempfile::tempdir().unwrap();
    let [from, to] = [folder.path(), copied.path()].map(|folder| folder.join("shop.db"));
    std::fs::copy(from, to).unwrap();

    let copy = shop(copied.path(), &SqliteBackend::new()).await;
    let mut reader = copy
        .reader("orders", aqueduct::Start::Earliest)
        .await
        .unwrap();
    for _ in 0..20 {
        reader.next().await.unwrap().unwrap();
    }
}

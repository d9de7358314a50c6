//! An effect that happens once, whatever crashes: the charge, the record that the order was handled
//! and the event about it are one transaction in the embedded store.
//!
//! Run it, kill it with `kill -9` in the middle, run it again: no order is charged twice.

use std::sync::Arc;

use aqueduct::sqlite::{SqlResultExt as _, SqliteOptions, SqliteStore};
use aqueduct::{Client, Completion, Event, Json, Result, SqliteBackend, State, StreamName};
use tokio::sync::watch;

const FILE: &str = "data/exactly-once/shop.db";

const CONFIG: &str = r#"
[client]
source = "/examples/exactly-once"

[streams.orders]
url = "sqlite:data/exactly-once/shop.db"

[streams.payments]
url = "sqlite:data/exactly-once/shop.db"

[groups.billing]
stream = "orders"
idempotency = true                       # records in the same file
on_reject = "stop"

[groups.mail]
stream = "payments"
on_reject = "stop"
"#;

/// An order that was handled before changes nothing and publishes nothing.
async fn charge(
    Json(order): Json<i64>,
    cause: Event,
    completion: Completion,
    State(store): State<SqliteStore>,
) -> Result<()> {
    let handled = store.handle_once(completion, move |tx| {
        tx.execute("INSERT INTO charge (number) VALUES (?1)", [order])
            .sql("charge an order")?;
        // The id comes from the cause, so a repetition would publish the same event.
        let paid = Event::json("order.paid", &order)?
            .with_source("/examples/exactly-once")
            .caused_by(&cause, 0);
        Ok(vec![(StreamName::new("payments"), paid)])
    });
    handled.await.map(drop)
}

async fn finished(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[tokio::main]
async fn main() -> Result<()> {
    let sqlite = SqliteBackend::new();
    let client = Client::builder()
        .toml(CONFIG)
        .backend("sqlite", sqlite.clone())
        .build()
        .await?;
    let orders = client.producer("orders").await?;
    client.producer("payments").await?;
    // The same file for the application's own tables.
    let store = sqlite
        .store(FILE, SqliteOptions::default(), client.runtime())
        .await?;
    store
        .transaction(|tx| {
            let table = "CREATE TABLE IF NOT EXISTS charge (number INTEGER)";
            tx.execute(table, []).sql("create the table").map(drop)
        })
        .await?;

    // Sent twice, as after a crash between the send and the sender's note of it: charged once.
    let order = Event::json("order.placed", &7)?.with_key("alice");
    orders.send(order.clone()).await?;
    orders.send(order).await?;
    orders
        .send(Event::json("order.placed", &8)?.with_key("alice"))
        .await?;

    let (done, stop) = watch::channel(false);
    let done = Arc::new(done);
    let billing = client.worker("billing").await?.state(store);
    let billing = billing.on("order.placed", charge);
    let mail = client
        .worker("mail")
        .await?
        .on("order.paid", move |Json(order): Json<i64>| {
            println!("order {order} is paid");
            if order == 8 {
                done.send_replace(true);
            }
            async {}
        });
    tokio::try_join!(
        billing.run_until(finished(stop.clone())),
        mail.run_until(finished(stop)),
    )?;
    client.close().await
}

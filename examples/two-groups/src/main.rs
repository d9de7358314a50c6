//! Two groups on one stream: each receives every event, at its own pace, with its own checkpoint.

use std::sync::Arc;

use aqueduct::{Client, Event, Json, Result, Worker};
use tokio::sync::Notify;

const CONFIG: &str = r#"
[client]
source = "/examples/two-groups"

[streams.orders]
url = "sqlite:data/two-groups/events.db"

[groups.billing]
stream = "orders"
on_reject = "stop"

[groups.shipping]
stream = "orders"
on_reject = "stop"
"#;

const ORDERS: u32 = 5;

/// Handles the orders under that name, and ends after the last one.
async fn run(name: &'static str, worker: Worker) -> Result<()> {
    let done = Arc::new(Notify::new());
    let seen = done.clone();
    worker
        .on("order.placed", move |Json(order): Json<u32>| {
            println!("{name} handles order {order}");
            if order == ORDERS {
                seen.notify_one();
            }
            async {}
        })
        .run_until(async move { done.notified().await })
        .await
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_toml(CONFIG).await?;
    let orders = client.producer("orders").await?;
    let events: Result<Vec<_>> = (1..=ORDERS)
        .map(|order| Ok(Event::json("order.placed", &order)?.with_key("alice")))
        .collect();
    // One call for many events: the outcome of each is in the receipts, or in the error.
    orders.send_all(events?).await?;

    let billing = run("billing", client.worker("billing").await?);
    let shipping = run("shipping", client.worker("shipping").await?);
    tokio::try_join!(billing, shipping)?;
    client.close().await
}

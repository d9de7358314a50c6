//! The application itself. `cargo test -p testing-an-application` runs its tests.

use std::sync::Arc;

use aqueduct::{Client, Event, Json, Result};
use testing_an_application::{CONFIG, Order, billing};
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_toml(CONFIG).await?;
    let order = Order {
        number: 1,
        cents: 950,
    };
    let orders = client.producer("orders").await?;
    orders.send(Event::json("order.placed", &order)?).await?;

    let done = Arc::new(Notify::new());
    let seen = done.clone();
    let payments = client.producer("payments").await?;
    billing(client.worker("billing").await?, payments)
        .on("*", move |Json(_): Json<Order>| async {})
        .on_idle(std::time::Duration::from_millis(50), move || {
            seen.notify_one();
            async {}
        })
        .run_until(async move { done.notified().await })
        .await?;
    println!("nothing is left to do");
    client.close().await
}

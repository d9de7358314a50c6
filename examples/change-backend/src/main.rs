//! One program, two configurations. Which backend carries the events is not in the code.
//!
//! ```sh
//! cargo run -p change-backend                                   # embedded.toml
//! cargo run -p change-backend -- examples/change-backend/memory.toml
//! AQUEDUCT__STREAMS__ORDERS__URL=memory: cargo run -p change-backend
//! ```

use std::sync::Arc;

use aqueduct::{Capability, Client, Event, Json, Result};
use tokio::sync::Notify;

const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/embedded.toml");

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| EMBEDDED.into());
    // Relative paths in a configuration start at its folder, unless the code says where.
    let client = Client::builder().file(&file).folder(".").build().await?;
    // Compares what each group `requires` with what its backend can do, without connecting. A group
    // that needs order per key is refused on a standard SQS queue here, not in production.
    client.check()?;

    let orders = client.producer("orders").await?;
    let durable = orders.capabilities().claims.has(Capability::Durable);
    println!("what is sent survives this process: {durable}");
    orders
        .send(Event::json("order.placed", &7)?.with_key("alice"))
        .await?;

    let done = Arc::new(Notify::new());
    let seen = done.clone();
    client
        .worker("billing")
        .await?
        .on("order.placed", move |Json(order): Json<u32>| {
            println!("charged order {order}");
            seen.notify_one();
            async {}
        })
        .run_until(async move { done.notified().await })
        .await?;
    client.close().await
}

//! An event that fails for good becomes a dead letter with everything that is known of why. Later
//! it is sent back to the group that could not handle it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct::{Client, DeadLetterQuery, Event, Json, Result};
use tokio::sync::Notify;

const CONFIG: &str = r#"
[client]
source = "/examples/dead-letters"

[streams.orders]
url = "sqlite:data/dead-letters/events.db"

[groups.shipping]
stream = "orders"
dead_letters = "sqlite:data/dead-letters/events.db"
redelivery = { attempts = 2, first = "20ms", max = "100ms" }
"#;

/// Runs the group until it has seen `last`. The address book is `repaired` in the second run.
async fn ship(client: &Client, repaired: bool, last: u32) -> Result<()> {
    let done = Arc::new(Notify::new());
    let seen = done.clone();
    let finished = Arc::new(AtomicBool::new(false));
    client
        .worker("shipping")
        .await?
        .on("order.paid", move |Json(order): Json<u32>| {
            let (seen, finished) = (seen.clone(), finished.clone());
            async move {
                if order == 2 && !repaired {
                    return Err("no address for order 2");
                }
                println!("shipped order {order}");
                if order == last && !finished.swap(true, Ordering::SeqCst) {
                    seen.notify_one();
                }
                Ok(())
            }
        })
        .run_until(async move { done.notified().await })
        .await
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_toml(CONFIG).await?;
    let orders = client.producer("orders").await?;
    for order in 1..=3_u32 {
        // One key: order 3 waits until order 2 has become a dead letter.
        orders
            .send(Event::json("order.paid", &order)?.with_key("alice"))
            .await?;
    }
    ship(&client, false, 3).await?;

    let store = client.dead_letters("shipping").await?;
    let found = store.list(&DeadLetterQuery::new()).await?;
    for stored in &found {
        let dead_letter = &stored.dead_letter;
        println!(
            "dead letter {}: {} after {} failures",
            stored.id,
            dead_letter.event.kind(),
            dead_letter.failures.len()
        );
    }

    // The events keep their ids and name the group that they are for: other groups of the stream
    // settle them unseen.
    let ids: Vec<_> = found.into_iter().map(|stored| stored.id).collect();
    for redriven in client.redrive("shipping", &ids).await? {
        redriven?;
    }
    ship(&client, true, 2).await?;
    client.close().await
}

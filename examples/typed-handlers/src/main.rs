//! Handlers by event type. An error is a failed attempt and is retried in place; a permanent error
//! goes to the dead letters; events of other keys flow meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aqueduct::{Client, Event, Json, Meta, Outcome, Permanent, Result, State};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

const CONFIG: &str = r#"
[client]
source = "/examples/typed-handlers"

[streams.payments]
url = "sqlite:data/typed-handlers/events.db"

[groups.billing]
stream = "payments"
dead_letters = "sqlite:data/typed-handlers/events.db"
redelivery = { attempts = 3, first = "50ms", max = "1s" }
"#;

#[derive(Serialize, Deserialize)]
struct Payment {
    customer: String,
    cents: i64,
}

/// Counts the attempts at each payment, to let the first one fail.
type Attempts = Arc<Mutex<HashMap<String, u32>>>;

/// A busy gateway is worth another attempt; a negative amount will never become positive.
async fn charge(
    Json(payment): Json<Payment>,
    State(attempts): State<Attempts>,
    meta: Meta,
) -> Result<Outcome, Permanent> {
    if payment.cents < 0 {
        return Err(Permanent::new(format!(
            "{} cannot pay {} cents",
            payment.customer, payment.cents
        )));
    }
    let first = {
        let mut attempts = attempts.lock().expect("no handler panics");
        let count = attempts.entry(payment.customer.clone()).or_default();
        *count += 1;
        *count == 1
    };
    if first {
        println!("{}: the gateway is busy", payment.customer);
        return Ok(Outcome::retry());
    }
    println!(
        "{}: {} cents charged, attempt {}",
        payment.customer, payment.cents, meta.attempt
    );
    Ok(Outcome::ack())
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_toml(CONFIG).await?;
    let producer = client.producer("payments").await?;
    for (customer, cents) in [("alice", 950), ("bob", -1), ("carol", 1200)] {
        let payment = Payment {
            customer: customer.into(),
            cents,
        };
        let event = Event::json("payment.requested", &payment)?.with_key(customer);
        producer.send(event).await?;
    }
    producer
        .send(Event::new("day.closed").with_key("carol"))
        .await?;

    let done = Arc::new(Notify::new());
    let closed = done.clone();
    client
        .worker("billing")
        .await?
        .state(Attempts::default())
        .on("payment.requested", charge)
        // The longest match wins: this takes what `payment.requested` does not.
        .on("day.*", move |event: Event| {
            println!("{} comes after carol's payment", event.kind());
            closed.notify_one();
            async {}
        })
        .run_until(async move { done.notified().await })
        .await?;
    client.close().await
}

//! An effect that happens once, whatever crashes: the charge, the record that the order was handled
//! and the event about it are one transaction in the embedded store.
//!
//! Run it, kill it with `kill -9` in the middle, run it again: no order is charged twice.

use std::sync::Arc;

use aqueduct::sqlite::{SqlResultExt as _, SqliteOptions, SqliteStore};
use aqueduct::{Client, Completion, Event, Json, Result, SqliteBackend, State, StreamName};
use tokio::sync::Notify;

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
    store
        .transaction(move |tx| {
            tx.execute("INSERT INTO charge (number) VALUES (?1)", [order])
                .sql("charge an order")?;
            // The id comes from the cause, so a repetition would publish the same event.
            let paid = Event::json("order.paid", &order)?.caused_by(&cause, 0);
            Ok((StreamName::new("payments"), vec![paid]))
        })
        .await
}

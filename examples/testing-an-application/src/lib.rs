//! A small application, and in `tests/billing.rs` how it is tested: no broker, no sleeping, and a
//! back-off of an hour takes no time.

use aqueduct::{Event, Json, Producer, Result, State, Worker};
use serde::{Deserialize, Serialize};

/// The application's configuration. Tests read every URL in it as memory.
pub const CONFIG: &str = r#"
[client]
source = "/examples/testing"

[streams.orders]
url = "sqlite:data/testing/events.db"

[streams.payments]
url = "sqlite:data/testing/events.db"

[groups.billing]
stream = "orders"
dead_letters = "sqlite:data/testing/events.db"
redelivery = { attempts = 3, first = "1h", max = "2h" }
"#;

/// An order as it is placed.
#[derive(Serialize, Deserialize)]
pub struct Order {
    /// The number of the order.
    pub number: u32,
    /// The amount in cents.
    pub cents: u64,
}

/// Gives a worker the handlers of the application.
pub fn billing(worker: Worker, payments: Producer) -> Worker {
    worker.state(payments).on("order.placed", charge)
}

/// Charges an order. The id of the event that it publishes is made of the id of its cause, so a
/// repetition publishes the same event again, not another one.
async fn charge(
    Json(order): Json<Order>,
    cause: Event,
    State(payments): State<Producer>,
) -> Result<()> {
    if order.cents == 0 {
        return Err(aqueduct::Error::new(
            aqueduct::ErrorKind::Handler,
            "the gateway is busy",
        ));
    }
    let paid = Event::json("order.paid", &order.number)?
        .caused_by(&cause, 0)
        .with_key(order.number.to_string());
    payments.send(paid).await?;
    Ok(())
}

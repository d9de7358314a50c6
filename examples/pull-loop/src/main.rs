//! The pull loop: receive deliveries and settle each one. A worker is built on the same contract.

use std::time::Duration;

use aqueduct::{Client, ErrorKind, Event, Result};

const CONFIG: &str = r#"
[client]
source = "/examples/pull-loop"

[streams.readings]
url = "sqlite:data/pull-loop/events.db"

[groups.archive]
stream = "readings"
redelivery = { first = "20ms", max = "100ms" }
on_reject = "drop"
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_toml(CONFIG).await?;
    let producer = client.producer("readings").await?;
    for degrees in [19, 20, -300, 21] {
        let event = Event::json("temperature.read", &degrees)?.with_key("kitchen");
        producer.send(event).await?;
    }

    let consumer = client.consumer("archive").await?;
    let mut done = false;
    while !done {
        // Waits for one delivery, then returns up to 10 that are there. An empty list means that
        // the consumer has ended.
        for delivery in consumer.receive_batch(10).await? {
            let degrees: i32 = delivery.event().decode_json()?;
            let settled = if degrees < -273 {
                // Will never be right: to the dead letters, or dropped as this group says.
                delivery.reject("below absolute zero").await
            } else if degrees == 20 && delivery.attempt() == 1 {
                // Comes again after the delay, and later readings of the kitchen behind it.
                delivery.nack(Some(Duration::from_millis(10))).await
            } else {
                delivery.ack().await
            };
            match settled {
                Ok(()) => println!("settled {degrees} degrees"),
                // Received together with the one that was nacked: it comes again.
                Err(refused) if refused.error.is(ErrorKind::Superseded) => {
                    println!("{degrees} degrees come again");
                    continue;
                }
                Err(refused) => return Err(refused.into()),
            }
            done = degrees == 21;
        }
    }
    // An ack is in memory until the next checkpoint: this waits for it.
    consumer.flush().await?;
    consumer.close().await?;
    client.close().await
}

//! Sends three events to a stream in one file and handles them in order.
//!
//! `cargo run -p first-steps` keeps its data in `data/first-steps`. Run it again: only the new
//! events are handled, since the group's checkpoint is in the same file.

use std::sync::Arc;

use aqueduct::{Client, Event, Json, Key, Result};
use tokio::sync::Notify;

const CONFIG: &str = r#"
[client]
source = "/examples/first-steps"

[streams.greetings]
url = "sqlite:data/first-steps/events.db"

[groups.printer]
stream = "greetings"
on_reject = "stop"
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_toml(CONFIG).await?;

    let producer = client.producer("greetings").await?;
    for word in ["hello", "again", "goodbye"] {
        // Stored when `send` returns. Events of one key keep their order.
        let receipt = producer
            .send(Event::json("greeting", &word)?.with_key("alice"))
            .await?;
        println!("sent {word:?} to partition {:?}", receipt.partition);
    }

    let done = Arc::new(Notify::new());
    let seen = done.clone();
    let worker = client.worker("printer").await?.on(
        "greeting",
        move |Json(word): Json<String>, Key(key): Key| {
            let seen = seen.clone();
            async move {
                println!("{key} says {word}");
                if word == "goodbye" {
                    seen.notify_one();
                }
            }
        },
    );
    // `run()` would go on until ctrl-c or SIGTERM. Both drain: handlers finish, and the checkpoint
    // is stored.
    worker
        .run_until(async move { done.notified().await })
        .await?;
    client.close().await
}

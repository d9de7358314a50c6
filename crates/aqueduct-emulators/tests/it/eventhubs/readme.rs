//! The example of the README, and the application that it tests.

use fe2o3_amqp::link::SendError;
use fe2o3_amqp::types::messaging::Outcome;

use super::client::{Client, event};

mod shop {
    use super::*;

    /// Sends an order, again if its outcome is unknown.
    pub(super) async fn place(endpoint: &str, order: &str) -> Result<(), SendError> {
        loop {
            let mut client = Client::connect(endpoint, 64 << 10).await;
            let mut sender = client.sender("orders").await;
            let sent = tokio::select! {
                sent = sender.send(event("one book", Some(order))) => sent?,
                // The connection ended before the outcome came.
                _ = client.connection.on_close() => continue,
            };
            if matches!(sent, Outcome::Accepted(_)) {
                return Ok(());
            }
        }
    }
}

// [example]
use aqueduct_emulators::{EventHubs, EventHubsFault, EventHubsOptions};

#[tokio::test]
async fn an_order_survives_a_lost_settlement() {
    let options = EventHubsOptions::new().with_hub("orders", 4);
    let hubs = EventHubs::start(options).await.unwrap();
    // Each applies once: the first delivery is refused, the second is stored and its outcome lost.
    hubs.inject("orders", EventHubsFault::Busy);
    hubs.inject("orders", EventHubsFault::CutAfterStore);

    shop::place(&hubs.endpoint(), "order-1").await.unwrap();

    let partition = hubs.partition_of("orders", "order-1").unwrap();
    let stored = hubs.events("orders", partition);
    assert_eq!(stored.len(), 2, "sent again: consumers see it twice");
    assert!(
        stored
            .iter()
            .all(|it| it.partition_key.as_deref() == Some("order-1"))
    );
    assert_eq!(hubs.pending_faults(), 0);
    assert_eq!(
        hubs.violations(),
        [],
        "what the client did wrong on the wire"
    );
}
// [/example]

#[test]
fn the_readme_shows_this_example() {
    let here = include_str!("readme.rs");
    let (_, example) = here.split_once("// [example]\n").unwrap();
    let (example, _) = example.split_once("// [/example]").unwrap();
    let readme = include_str!("../../../README.md");
    assert!(
        readme.contains(example),
        "copy this to the README:\n{example}"
    );
}

//! The order flow on Azure, by configuration alone: on the emulator of Event Hubs, with real kills.
//!
//! `AQUEDUCT_TEST_EVENTHUBS` is the connection string of another namespace, whose hubs are new: one in Azure, or
//! Microsoft's emulator of `docker-compose.yml`.

#![allow(clippy::unwrap_used)]

mod cloud;

use aqueduct_emulators::{EventHubs, EventHubsOptions};

use self::cloud::{Cloud, assert_same, flow, run_and_kill, summary};

fn hubs() -> EventHubsOptions {
    EventHubsOptions::new()
        .with_hub("orders", 4)
        .with_consumer_group("orders", "payment")
        .with_consumer_group("orders", "management")
        .with_hub("payments", 4)
        .with_consumer_group("payments", "shipping")
        .with_consumer_group("payments", "management")
        .with_hub("shipments", 4)
        .with_consumer_group("shipments", "management")
        .with_hub("order-status", 4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_same_table_as_on_sqlite() {
    let server = EventHubs::start(hubs()).await.unwrap();
    let elsewhere = std::env::var("AQUEDUCT_TEST_EVENTHUBS");
    let cloud = Cloud {
        config: concat!(env!("CARGO_MANIFEST_DIR"), "/azure.toml"),
        variable: "EVENTHUBS_CONNECTION_STRING",
        value: elsewhere.unwrap_or_else(|_| server.connection_string()),
    };
    let work = tokio::task::spawn_blocking(move || {
        let data = tempfile::tempdir().unwrap();
        let mut before = 0;
        for _ in 0..2 {
            before = run_and_kill(data.path(), &cloud, before);
        }
        let azure = summary(flow(data.path(), Some(&cloud)));
        let embedded = tempfile::tempdir().unwrap();
        (azure, summary(flow(embedded.path(), None)))
    });
    let (azure, embedded) = work.await.unwrap();
    assert_same(&azure, &embedded, &["shipped", "payment_failed", "gross"]);
    assert_eq!(server.violations(), []);
}

//! The order flow on Google Cloud, by configuration alone: on the emulator of Pub/Sub, with real kills.

#![allow(clippy::unwrap_used)]

mod cloud;

use std::time::Duration;

use aqueduct_emulators::{PubSub, PubSubOptions};

use self::cloud::{Cloud, ORDERS, assert_same, flow, run_and_kill, summary};

/// The ack deadline of the service after which what a killed process held comes again, and some.
const LEASE: Duration = Duration::from_secs(61);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_same_table_as_on_sqlite() {
    let server = PubSub::start(PubSubOptions::new()).await.unwrap();
    let cloud = Cloud {
        config: concat!(env!("CARGO_MANIFEST_DIR"), "/google.toml"),
        variable: "PUBSUB_EMULATOR_HOST",
        value: server.host(),
    };
    let data = tempfile::tempdir().unwrap();
    let mut before = 0;
    for _ in 0..2 {
        let (folder, cloud) = (data.path().to_owned(), cloud.clone());
        let work = tokio::task::spawn_blocking(move || run_and_kill(&folder, &cloud, before));
        before = work.await.unwrap();
        // What the killed process held comes again now.
        server.advance(LEASE);
    }
    assert!(before < ORDERS, "killed before its end");
    let (folder, cloud) = (data.path().to_owned(), cloud.clone());
    let work = tokio::task::spawn_blocking(move || {
        let embedded = tempfile::tempdir().unwrap();
        let google = summary(flow(&folder, Some(&cloud)));
        (google, summary(flow(embedded.path(), None)))
    });
    let (google, embedded) = work.await.unwrap();
    let fields = ["shipped", "payment_failed", "dead_lettered", "gross"];
    assert_same(&google, &embedded, &fields);
}

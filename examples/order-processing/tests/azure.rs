//! The order flow on Azure, by configuration alone: on the emulator of Event Hubs, with real kills.
//!
//! `AQUEDUCT_TEST_EVENTHUBS` is the connection string of another namespace, whose hubs are new: one in Azure, or
//! Microsoft's emulator of `docker-compose.yml`.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aqueduct_emulators::{EventHubs, EventHubsOptions};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// The longest wait on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

const ORDERS: u64 = 600;

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

/// Starts the flow, on Event Hubs if there is a connection string, else on the embedded store.
fn flow(data: &Path, connection_string: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order-processing"));
    command.arg("--data").arg(data).args(["--json", "--quiet"]);
    command.args(["--count", "600", "--seed", "11"]);
    if let Some(connection_string) = connection_string {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/azure.toml");
        command
            .args(["--config", config])
            .env("EVENTHUBS_CONNECTION_STRING", connection_string);
    }
    let command = command.stdin(Stdio::null());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn summary(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8(output.stdout).unwrap();
    let last = printed.lines().last();
    let last = last.unwrap_or_else(|| panic!("nothing printed: {said}"));
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}: {said}"))
}

fn finished(data: &Path) -> u64 {
    let query = "SELECT count(*) FROM order_state WHERE status IN ('shipped', 'payment_failed')";
    Connection::open_with_flags(data.join("orders.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|db| db.query_row(query, [], |row| row.get::<_, i64>(0)))
        .map_or(0, |count| count as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_same_table_as_on_sqlite() {
    let server = EventHubs::start(hubs()).await.unwrap();
    let elsewhere = std::env::var("AQUEDUCT_TEST_EVENTHUBS");
    let connection_string = elsewhere.unwrap_or_else(|_| server.connection_string());
    let work = tokio::task::spawn_blocking(move || {
        let data = tempfile::tempdir().unwrap();
        let mut before = 0;
        for _ in 0..2 {
            let mut child = flow(data.path(), Some(&connection_string));
            let begun = Instant::now();
            while finished(data.path()) <= before && child.try_wait().unwrap().is_none() {
                assert!(
                    begun.elapsed() < DEADLINE,
                    "stuck at {before} finished orders"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            before = finished(data.path());
        }
        let azure = summary(flow(data.path(), Some(&connection_string)));
        let embedded = tempfile::tempdir().unwrap();
        (azure, summary(flow(embedded.path(), None)))
    });
    let (azure, embedded) = work.await.unwrap();
    for field in ["lost", "charged_twice", "out_of_order"] {
        assert_eq!(azure[field], 0, "{field}: {azure}");
    }
    assert_eq!(azure["orders"], ORDERS, "{azure}");
    for field in ["shipped", "payment_failed", "gross"] {
        assert_eq!(azure[field], embedded[field], "{field}: {azure} {embedded}");
    }
    assert_eq!(server.violations(), []);
}

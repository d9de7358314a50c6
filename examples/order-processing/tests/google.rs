//! The order flow on Google Cloud, by configuration alone: on the emulator of Pub/Sub, with real kills.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aqueduct_emulators::{PubSub, PubSubOptions};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// The longest wait on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

const ORDERS: u64 = 600;

/// The ack deadline of the service after which what a killed process held comes again, and some.
const LEASE: Duration = Duration::from_secs(61);

/// Starts the flow, on Pub/Sub if there is an emulator, else on the embedded store.
fn flow(data: &Path, emulator: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order-processing"));
    command.arg("--data").arg(data).args(["--json", "--quiet"]);
    command.args(["--count", "600", "--seed", "11"]);
    if let Some(host) = emulator {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/google.toml");
        command
            .args(["--config", config])
            .env("PUBSUB_EMULATOR_HOST", host);
    }
    let command = command.stdin(Stdio::null());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for the end of the flow and returns its last line.
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

/// Runs the flow until more orders are finished than before, then kills it.
fn run_and_kill(data: &Path, host: &str, before: u64) -> u64 {
    let mut child = flow(data, Some(host));
    let begun = Instant::now();
    while finished(data) <= before && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < DEADLINE, "stuck at {before} orders");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    finished(data)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_same_table_as_on_sqlite() {
    let server = PubSub::start(PubSubOptions::new()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut before = 0;
    for _ in 0..2 {
        let (folder, host) = (data.path().to_owned(), server.host());
        let work = tokio::task::spawn_blocking(move || run_and_kill(&folder, &host, before));
        before = work.await.unwrap();
        // What the killed process held comes again now.
        server.advance(LEASE);
    }
    assert!(before < ORDERS, "killed before its end");
    let (folder, host) = (data.path().to_owned(), server.host());
    let work = tokio::task::spawn_blocking(move || {
        let embedded = tempfile::tempdir().unwrap();
        let google = summary(flow(&folder, Some(&host)));
        (google, summary(flow(embedded.path(), None)))
    });
    let (google, embedded) = work.await.unwrap();
    for field in ["lost", "charged_twice", "out_of_order"] {
        assert_eq!(google[field], 0, "{field}: {google}");
    }
    assert_eq!(google["orders"], ORDERS, "{google}");
    for field in ["shipped", "payment_failed", "dead_lettered", "gross"] {
        assert_eq!(
            google[field], embedded[field],
            "{field}: {google} {embedded}"
        );
    }
}

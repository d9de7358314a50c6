//! The order flow as a process on a cloud, by configuration alone, with real kills.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// The longest wait on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

pub(crate) const ORDERS: u64 = 600;

/// A cloud: the flow's configuration for it, and the variable that names the service.
#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) config: &'static str,
    pub(crate) variable: &'static str,
    pub(crate) value: String,
}

/// Starts the flow, on the embedded store without a cloud.
pub(crate) fn flow(data: &Path, cloud: Option<&Cloud>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order-processing"));
    command.arg("--data").arg(data).args(["--json", "--quiet"]);
    command.args(["--count", "600", "--seed", "11"]);
    if let Some(cloud) = cloud {
        command
            .args(["--config", cloud.config])
            .env(cloud.variable, &cloud.value);
    }
    let command = command.stdin(Stdio::null());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for the end of the flow and returns its last line.
pub(crate) fn summary(child: Child) -> Value {
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
pub(crate) fn run_and_kill(data: &Path, cloud: &Cloud, before: u64) -> u64 {
    let mut child = flow(data, Some(cloud));
    let begun = Instant::now();
    while finished(data) <= before && child.try_wait().unwrap().is_none() {
        assert!(
            begun.elapsed() < DEADLINE,
            "stuck at {before} finished orders"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    finished(data)
}

/// Checks that nothing is lost, and that `fields` of the summaries are the same.
pub(crate) fn assert_same(cloud: &Value, embedded: &Value, fields: &[&str]) {
    for field in ["lost", "charged_twice", "out_of_order"] {
        assert_eq!(cloud[field], 0, "{field}: {cloud}");
    }
    assert_eq!(cloud["orders"], ORDERS, "{cloud}");
    for field in fields {
        assert_eq!(cloud[field], embedded[field], "{field}: {cloud} {embedded}");
    }
}

//! Each scenario runs at its smallest size, and its output has the right shape. Figures depend on the
//! machine and are not tested.

use std::process::Command;

use serde_json::Value;

fn lines(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_aqueduct-bench"))
        .args(arguments)
        .args(["--json", "--rounds", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

fn contestants(lines: &[Value]) -> Vec<&str> {
    let names = lines.iter().filter_map(|line| line["contestant"].as_str());
    names.collect()
}

/// Returns the value of the aim whose text begins with `what`.
fn aim(lines: &[Value], what: &str) -> f64 {
    let found = lines
        .iter()
        .find(|line| line["aim"].as_str().is_some_and(|it| it.starts_with(what)));
    found.and_then(|line| line["value"].as_f64()).unwrap()
}

fn line<'a>(lines: &'a [Value], contestant: &str) -> &'a Value {
    let found = lines.iter().find(|line| line["contestant"] == contestant);
    found.unwrap()
}

#[test]
fn memory_and_sqlite() {
    assert_eq!(lines(&["memory", "--events", "1000"]).len(), 5);
    assert_eq!(lines(&["sqlite", "--events", "1000"]).len(), 4);
}

/// Bytes do not depend on the machine's speed but for how many orders share a commit: the bound leaves
/// room for fewer.
#[test]
fn orders() {
    let lines = lines(&["orders", "--events", "400"]);
    assert_eq!(contestants(&lines), ["rusqlite", "aqueduct"]);
    let written = &line(&lines, "aqueduct")["written_kib_per_order"];
    assert!(written.as_f64().unwrap() < 60.0, "{written} KiB an order");
}

#[test]
fn kinesis_publish() {
    let lines = lines(&["kinesis-publish", "--events", "1000"]);
    assert_eq!(contestants(&lines).len(), 10);
    assert_eq!(line(&lines, "sdk")["requests_per_100k_events"], 200.0);
    assert!(aim(&lines, "requests per 100,000 events, aggregated") > 0.0);
}

#[test]
fn kinesis_limited() {
    let lines = lines(&["kinesis-limited", "--events", "1000"]);
    assert_eq!(contestants(&lines).len(), 5);
    assert_eq!(aim(&lines, "events lost through the engine"), 0.0);
    assert_eq!(aim(&lines, "events behind a later one"), 0.0);
}

#[test]
fn kinesis_consume() {
    let lines = lines(&["kinesis-consume", "--events", "1000"]);
    assert_eq!(contestants(&lines).len(), 5);
    assert!(aim(&lines, "rate of the group") > 0.0);
}

#[test]
fn kinesis_leases() {
    let lines = lines(&["kinesis-leases", "--events", "500"]);
    assert_eq!(contestants(&lines).len(), 4);
    assert!(aim(&lines, "rate with leases in DynamoDB") > 0.0);
}

#[test]
fn kinesis_adapter() {
    let lines = lines(&["kinesis-adapter", "--events", "500"]);
    assert_eq!(contestants(&lines).len(), 7);
    assert!(aim(&lines, "CPU time of the producer") > 0.0);
}

#[test]
fn eventhubs_publish() {
    let lines = lines(&["eventhubs-publish", "--events", "500"]);
    assert_eq!(contestants(&lines).len(), 5);
    assert!(aim(&lines, "rate to the client's loop") > 0.0);
    assert!(aim(&lines, "rate to the client's loop, round trip of 5 ms") > 0.0);
}

#[test]
fn eventhubs_consume() {
    let lines = lines(&["eventhubs-consume", "--events", "500"]);
    assert_eq!(contestants(&lines).len(), 4);
    assert!(aim(&lines, "rate with checkpoints to the client's stream") > 0.0);
}

#[test]
fn blob_leases() {
    let lines = lines(&["blob-leases"]);
    assert_eq!(contestants(&lines).len(), 4);
    for name in ["own, 200/s", "own, 4000/s"] {
        // In virtual time the counts are the same everywhere.
        let line = line(&lines, name);
        let renewals = &line["renewals_per_partition_and_minute"];
        assert_eq!(line["writes_per_partition_and_minute"], *renewals);
        assert!(line["usd_per_partition_and_month"].as_f64() > Some(0.0));
    }
}

#[test]
fn pubsub() {
    let publish = lines(&["pubsub-publish", "--events", "2000"]);
    assert_eq!(contestants(&publish).len(), 5);
    assert!(aim(&publish, "CPU of an event, to the client") > 0.0);
    let receive = lines(&["pubsub-receive", "--events", "2000"]);
    assert_eq!(contestants(&receive).len(), 3);
    assert!(aim(&receive, "rate, to the client with one stream") > 0.0);
    let keys = lines(&["pubsub-keys", "--events", "1000"]);
    assert!(aim(&keys, "tasks that the keys left") < 100.0);
}

#[test]
fn sqs() {
    let lines = lines(&["sqs", "--events", "200"]);
    assert_eq!(contestants(&lines).len(), 4);
}

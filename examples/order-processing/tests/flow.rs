//! The order flow as its users run it: real processes, real kills.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// The longest wait on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

fn flow(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order-processing"));
    command
        .arg("--data")
        .arg(data)
        .args(["--json", "--quiet"])
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn summary(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8(output.stdout).unwrap();
    let last = printed
        .lines()
        .last()
        .unwrap_or_else(|| panic!("nothing printed: {said}"));
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {last}: {said}"))
}

fn assert_whole(summary: &Value, orders: u64) {
    assert_eq!(summary["orders"], orders, "{summary}");
    for field in ["lost", "charged_twice", "out_of_order"] {
        assert_eq!(summary[field], 0, "{field}: {summary}");
    }
    let ended = summary["shipped"].as_u64().unwrap() + summary["payment_failed"].as_u64().unwrap();
    assert_eq!(ended, orders, "{summary}");
}

fn finished(data: &Path) -> u64 {
    let query = "SELECT count(*) FROM order_state WHERE status IN ('shipped', 'payment_failed')";
    Connection::open_with_flags(data.join("orders.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|db| db.query_row(query, [], |row| row.get::<_, i64>(0)))
        .map_or(0, |count| count as u64)
}

/// Waits until more than `above` orders are finished; returns how many.
fn wait_for_more(data: &Path, above: u64, child: &mut Child) -> u64 {
    let begun = Instant::now();
    loop {
        let now = finished(data);
        if now > above || child.try_wait().unwrap().is_some() {
            return now;
        }
        assert!(begun.elapsed() < DEADLINE, "stuck at {now} finished orders");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes the embedded configuration with something else behind `dead_letters = `; returns its path.
fn configured(data: &Path, dead_letters: &str) -> String {
    let text = include_str!("../src/embedded.toml");
    let text = text.replace(
        "dead_letters = \"state\"",
        &format!("dead_letters = {dead_letters}"),
    );
    let file = data.join("configured.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn kill_it_anywhere_and_it_goes_on() {
    const ORDERS: u64 = 4_000;
    let data = tempfile::tempdir().unwrap();
    // A restart that waited for the leases of the killed process would move in an hour.
    let config = configured(data.path(), "\"state\"\nlease_ttl = \"1h\"");
    let arguments = ["--count", "4000", "--seed", "11", "--config", &config];
    let mut kills = 0;
    let mut before = 0;
    for round in 0..8 {
        let mut child = flow(data.path(), &arguments).spawn().unwrap();
        let begun = Instant::now();
        let reached = wait_for_more(data.path(), before, &mut child);
        let moved_after = begun.elapsed();
        std::thread::sleep(Duration::from_millis(17 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += u64::from(reached < ORDERS);
        before = finished(data.path());
        println!("round {round}: moved after {moved_after:?}, killed at {before} finished orders");
    }
    assert!(kills >= 2, "the kills came too late to mean anything");
    let summary = summary(flow(data.path(), &arguments).spawn().unwrap());
    assert_whole(&summary, ORDERS);
    let (history, path) = common::write_history(data.path(), "killed-order-flow", kills);
    let verdict = aqueduct_history::check(history.records());
    println!("{}: {verdict}", path.display());
    assert!(verdict.is_ok(), "{verdict}");
    assert_eq!(verdict.events as u64, ORDERS);
}

#[test]
fn each_role_runs_as_a_process_of_its_own() {
    const ORDERS: u64 = 300;
    let data = tempfile::tempdir().unwrap();
    let role = |role: &str| {
        flow(
            data.path(),
            &["--count", "300", "--seed", "5", "--role", role],
        )
        .spawn()
        .unwrap()
    };
    let roles = ["placement", "payment", "shipping", "management"];
    for child in roles.map(role) {
        assert_whole(&summary(child), ORDERS);
    }
}

#[test]
fn an_invalid_line_becomes_a_dead_letter_and_the_rest_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let good = |id: &str, price: &str| {
        format!(
            r#"{{"order_id":"{id}","customer_id":"BONAP","placed_at":"2026-01-01",
               "items":[{{"sku":"1","quantity":3,"unit_price":{price},"discount":0.15}}]}}"#
        )
        .replace('\n', " ")
    };
    let lines = [
        good("1", "10.05"),
        "{ not json".into(),
        String::new(),
        good("2", "-4"),
        good("3", "0.1"),
        good("1", "10.05"),
        good("1", "99"),
    ];
    for _ in 0..2 {
        let mut child = flow(data.path(), &["--orders", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(lines.join("\n").as_bytes()).unwrap();
        stdin.write_all(b"\n\xff\xfe broken").unwrap();
        drop(stdin);
        let summary = summary(child);
        assert_whole(&summary, 2);
        // 3 x 10.05 x 0.85 + 3 x 0.1 x 0.85 = 25.6275 + 0.255
        assert_eq!(summary["gross"], "25.88", "{summary}");
        assert_eq!(summary["dead_lettered"], 4, "{summary}");
    }
    let db = Connection::open(data.path().join("orders.db")).unwrap();
    let mut select = db
        .prepare("SELECT message FROM aqueduct_letter ORDER BY CAST(position AS INTEGER)")
        .unwrap();
    let said: Vec<String> = select
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (message, (line, why)) in said.iter().zip([
        (2, "key must be a string"),
        (4, "unit_price is negative"),
        (7, "order 1 was placed before, with other content"),
        (8, "not UTF-8"),
    ]) {
        assert!(
            message.contains(&format!("line {line}: ")) && message.contains(why),
            "{message}"
        );
    }
}

#[test]
fn the_same_program_runs_in_memory_by_configuration_alone() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("memory.toml");
    let text = include_str!("../src/embedded.toml").replace("sqlite:orders.db", "memory:");
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap().to_owned();
    let child = flow(data.path(), &["--count", "400", "--config", &config])
        .spawn()
        .unwrap();
    assert_whole(&summary(child), 400);
}

#[test]
fn bad_arguments_say_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (
            &["--orders", "no/such/file.jsonl"][..],
            "no/such/file.jsonl",
        ),
        (&["--config", "no/such.toml"][..], "no/such.toml"),
        (&["--role", "chef"][..], "placement"),
        (&["--count", "many"][..], "--count"),
    ] {
        let output = flow(data.path(), arguments)
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(says),
            "{arguments:?}: {said}"
        );
        assert!(
            output.stdout.is_empty() && !said.contains("panicked"),
            "{said}"
        );
    }
}

/// Sends a signal to a running flow, which drains and prints how to continue.
#[cfg(unix)]
fn stopped_by(signal: &str) {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--count", "20000", "--seed", "3"];
    let mut child = flow(data.path(), &arguments).spawn().unwrap();
    wait_for_more(data.path(), 0, &mut child);
    let terminated = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(terminated.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("start it again"), "{said}");
    assert!(finished(data.path()) > 0);
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_and_loses_nothing() {
    stopped_by("-TERM");
}

#[cfg(unix)]
#[test]
fn a_terminal_that_is_closed_stops_it_and_loses_nothing() {
    // Under `nohup` the program is meant to run on, and so do the children of this test.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    if ignored.is_some_and(|mask| mask & 1 == 1) {
        eprintln!("skipped: SIGHUP is ignored here");
        return;
    }
    stopped_by("-HUP");
}

#[cfg(unix)]
#[test]
fn a_file_that_is_removed_under_it_is_a_failure() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--count", "20000", "--seed", "3"];
    let mut child = flow(data.path(), &arguments).spawn().unwrap();
    wait_for_more(data.path(), 0, &mut child);
    std::fs::remove_file(data.path().join("orders.db")).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("removed or renamed"), "{said}");
    assert!(!data.path().join("orders.db").exists());
}

/// Waits until `reached` or the program ends; returns whether it runs on.
#[cfg(target_os = "linux")]
fn runs_until(child: &mut Child, what: &str, mut reached: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !reached() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(begun.elapsed() < DEADLINE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A disk that fills up and has room again after seven seconds is a pause, not an end.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_was_full_for_seconds_ends_nothing() {
    const ORDERS: u64 = 6_000;
    let disk = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
        .arg(disk.path())
        .output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("skipped: only root can mount a small disk");
        return;
    }
    let unmounted = Unmounted(disk);
    let data = unmounted.0.path();
    let ballast = data.join("ballast");
    let mut child = flow(data, &["--count", "6000", "--seed", "2"])
        .spawn()
        .unwrap();
    wait_for_more(data, 0, &mut child);
    let fill = || {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&ballast)
            .unwrap();
        // Until nothing more fits, what the program has freed meanwhile too.
        while (&file).write_all(&[0; 4096]).is_ok() {}
    };
    fill();
    // Nothing is finished for seven seconds in a row: the disk is full and stays so.
    let mut last = (finished(data), Instant::now());
    let runs = runs_until(&mut child, "a standstill", || {
        fill();
        let now = finished(data);
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(7)
    });
    let stood_at = finished(data);
    std::fs::remove_file(&ballast).unwrap();
    let summary = summary(child);
    assert!(runs, "it ended on a full disk: {summary}");
    assert!(stood_at < ORDERS, "the disk was never full");
    assert_whole(&summary, ORDERS);
    assert_eq!(summary["dead_lettered"], 0, "{summary}");
}

/// Unmounts a small disk at the end of a test.
#[cfg(target_os = "linux")]
struct Unmounted(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn the_table_says_where_data_and_dead_letters_are() {
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_order-processing"))
        .arg("--data")
        .arg(data.path())
        .args(["--count", "5", "--quiet"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let file = data.path().join("orders.db").display().to_string();
    assert!(said.contains(&format!("Data: {file}")), "{said}");
    assert!(said.contains("Dead letters: none"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let data = tempfile::tempdir().unwrap();
    let mut command = flow(data.path(), &["--count", "5"]);
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn bad_lines_of_another_input_are_dead_letters_of_their_own() {
    let data = tempfile::tempdir().unwrap();
    for (line, dead_letters) in [("first", 1), ("second", 2), ("first", 2)] {
        let mut child = flow(data.path(), &["--orders", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        drop(stdin);
        assert_eq!(summary(child)["dead_lettered"], dead_letters, "{line}");
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--count", "20000", "--seed", "3"];
    let mut child = flow(data.path(), &arguments).spawn().unwrap();
    wait_for_more(data.path(), 0, &mut child);
    // Another program has the write lock: nothing can be drained.
    let db = Connection::open(data.path().join("orders.db")).unwrap();
    db.busy_timeout(DEADLINE).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    // Two signals at the same instant count as one, so send more until it has ended.
    while child.try_wait().unwrap().is_none() {
        let pid = child.id().to_string();
        Command::new("kill").arg(pid).status().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(
            begun.elapsed() < DEADLINE / 2,
            "it runs on after many signals"
        );
    }
    db.execute_batch("ROLLBACK").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("start it again"), "{said}");
}

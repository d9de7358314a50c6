use std::process::Command;

use aqueduct_core::{Error, ErrorKind, Result};

use crate::Contestant;

/// Counts the instructions of one event: this program runs itself under callgrind with two numbers
/// of events, and the difference leaves start-up out.
pub(crate) fn instructions_per_event(scenario: &str, contestant: &Contestant) -> Result<f64> {
    let few = 10_000;
    let many = 30_000;
    let difference = instructions(scenario, contestant, many)?
        .saturating_sub(instructions(scenario, contestant, few)?);
    Ok(difference as f64 / (many - few) as f64)
}

fn instructions(scenario: &str, contestant: &Contestant, events: u64) -> Result<u64> {
    let myself = std::env::current_exe().map_err(|e| failed("this program").with_source(e))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(myself)
        .arg(scenario)
        .args(["--json", "--contestant", contestant.name])
        .args([
            "--batch",
            &contestant.batch.to_string(),
            "--events",
            &events.to_string(),
        ])
        .output()
        .map_err(|e| {
            failed("valgrind does not start; install it, or leave --instructions out")
                .with_source(e)
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(failed("the program under valgrind failed").context(said));
    }
    said.lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .ok_or_else(|| failed("callgrind did not say how many instructions it collected"))
}

fn failed(what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}

use std::path::Path;
use std::process::Command;

use aqueduct_core::{Error, ErrorKind, Result};

use crate::Contestant;

/// The instructions of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Instructions {
    pub(crate) all: f64,
    /// Those of SHA-256, which signs AWS requests. Valgrind lacks the processor's instructions for it, so
    /// it takes many times as many there.
    pub(crate) sha256: f64,
}

/// Counts the instructions of one event: runs this program under callgrind with two numbers of events,
/// whose difference excludes start-up.
pub(crate) fn instructions_per_event(
    scenario: &str,
    contestant: &Contestant,
) -> Result<Instructions> {
    let few = 10_000;
    let many = 30_000;
    let (before, after) = (
        count(scenario, contestant, few)?,
        count(scenario, contestant, many)?,
    );
    let events = (many - few) as f64;
    Ok(Instructions {
        all: (after.all - before.all) / events,
        sha256: (after.sha256 - before.sha256) / events,
    })
}

fn count(scenario: &str, contestant: &Contestant, events: u64) -> Result<Instructions> {
    let myself = std::env::current_exe().map_err(|e| failed("this program").with_source(e))?;
    let folder = tempfile::tempdir()
        .map_err(|e| failed("the temporary folder could not be created").with_source(e))?;
    let profile = folder.path().join("callgrind.out");
    let direction = contestant.direction.map(|it| ["--direction", it]);
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(myself)
        .arg(scenario)
        .args(["--json", "--rounds", "1", "--contestant", contestant.name])
        .args(direction.into_iter().flatten())
        .args([
            "--batch",
            &contestant.batch.to_string(),
            "--events",
            &events.to_string(),
        ])
        .output()
        .map_err(|e| {
            failed("valgrind did not start: install it, or leave --instructions out").with_source(e)
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(failed("the program under valgrind failed").context(said));
    }
    let all = said
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .ok_or_else(|| failed("callgrind did not print how many instructions it collected"))?;
    Ok(Instructions {
        all,
        sha256: sha256(&profile)?,
    })
}

/// Sums the instructions of the SHA-256 functions in callgrind's file, without their callees.
fn sha256(profile: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(profile)
        .map_err(|e| failed("callgrind wrote no profile").with_source(e))?;
    let mut known = Vec::new();
    let (mut inside, mut of_a_call) = (false, false);
    let mut sum = 0.0;
    for line in text.lines() {
        // A name is written once, after a number that refers to it from then on.
        if let Some(name) = ["fn=", "cfn="].iter().find_map(|it| line.strip_prefix(it)) {
            let (number, name) = name.split_once(')').unwrap_or((name, ""));
            if name.contains("sha2::sha256") {
                known.push(number.to_owned());
            }
            if line.starts_with("fn=") {
                inside = known.iter().any(|it| it == number);
            }
        } else if line.starts_with("calls=") {
            of_a_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let cost = line.split(' ').nth(1).and_then(|it| it.parse::<f64>().ok());
            if inside && !std::mem::take(&mut of_a_call) {
                sum += cost.unwrap_or_default();
            }
            of_a_call = false;
        }
    }
    Ok(sum)
}

fn failed(what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}

use std::time::Instant;

use crate::command::{cargo, installed, output};
use crate::workspace::members;
use crate::{dependencies, structure};

/// Runs the inner loop: format, structure, dependencies, lints and tests of the members that need
/// no cloud SDK.
pub(crate) fn run() -> Result<(), String> {
    let begun = Instant::now();
    cargo(&["fmt", "--all", "--check"])?;
    structure::run()?;
    dependencies::run()?;
    let light = without_cloud()?;
    let packages: Vec<&str> = light
        .iter()
        .flat_map(|name| ["--package", name.as_str()])
        .collect();
    let lint = ["clippy", "--all-targets"];
    cargo(&[&lint, &packages[..], &["--", "--deny", "warnings"]].concat())?;
    tests(&packages)?;
    println!("checked in {:.0} s", begun.elapsed().as_secs_f64());
    println!("left out: members on a cloud's SDK; `cargo xtask ci` runs them");
    Ok(())
}

/// Runs tests: with cargo-nextest where it is installed, since it runs binaries side by side.
pub(crate) fn tests(packages: &[&str]) -> Result<(), String> {
    match installed("nextest") {
        true => cargo(&[&["nextest", "run"], packages].concat()),
        false => cargo(&[&["test", "--all-targets"], packages].concat()),
    }
}

/// The packages by whose names the SDK of a cloud is known.
const CLOUDS: [&str; 4] = ["aws-sdk-", "fe2o3-amqp", "google-cloud-", "object_store"];

/// Lists the members whose libraries and tests build without the SDK of a cloud.
fn without_cloud() -> Result<Vec<String>, String> {
    let mut light = Vec::new();
    for member in members()? {
        let tree = output(&[
            "tree",
            "--package",
            &member.name,
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
        ])?;
        let of_cloud = |line: &str| CLOUDS.iter().any(|cloud| line.starts_with(cloud));
        if !tree.lines().any(of_cloud) {
            light.push(member.name);
        }
    }
    Ok(light)
}

use std::process::Command;
use std::time::Instant;

use clap::{Args, ValueEnum};

/// The flags of `ci`.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs those steps alone, in this order.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Step>,
    /// Checks the advisory database too; needs the network.
    #[arg(long)]
    advisories: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    Fmt,
    Clippy,
    Test,
    Integration,
    Doc,
    Deny,
    Examples,
}

/// Runs the steps and stops at the first that fails.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let steps = match options.only.as_slice() {
        [] => Step::value_variants(),
        only => only,
    };
    for step in steps {
        let begun = Instant::now();
        println!("== {step:?}");
        match step {
            Step::Fmt => cargo(&["fmt", "--all", "--check"])?,
            Step::Clippy => {
                cargo(&[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "--deny",
                    "warnings",
                ])?;
            }
            Step::Test => cargo(&["test", "--workspace"])?,
            Step::Integration => crate::emulators::run(&[])?,
            Step::Doc => doc()?,
            Step::Deny => deny(options.advisories)?,
            Step::Examples => examples()?,
        }
        println!("== {step:?} done in {:.0} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

fn doc() -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "--deny warnings");
    finish(command)
}

fn deny(advisories: bool) -> Result<(), String> {
    let present = Command::new(env!("CARGO"))
        .args(["deny", "--version"])
        .output();
    if !present.is_ok_and(|output| output.status.success()) {
        return Err("cargo-deny is missing: `cargo install --locked cargo-deny`".into());
    }
    let mut arguments = vec![
        "deny",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ];
    match advisories {
        true => arguments.push("advisories"),
        false => {
            println!("skipped: advisories, which need the network: `cargo xtask ci --advisories`");
        }
    }
    cargo(&arguments)
}

/// Runs the order flow as the README does, on a folder of its own, and reads its last line.
fn examples() -> Result<(), String> {
    let data = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["run", "--release", "--package", "order-processing", "--"])
        .args(["--count", "500", "--json", "--data"])
        .arg(data.path());
    let output = command
        .output()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    if !output.status.success() {
        return Err(format!(
            "order-processing failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let last = text.lines().last().unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(last)
        .map_err(|e| format!("the last line of order-processing is no JSON ({e}): {last}"))?;
    for (field, expected) in [
        ("orders", 500),
        ("lost", 0),
        ("charged_twice", 0),
        ("out_of_order", 0),
    ] {
        if summary[field] != expected {
            return Err(format!(
                "order-processing: {field} is {}, not {expected}",
                summary[field]
            ));
        }
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments);
    finish(command)
}

fn finish(mut command: Command) -> Result<(), String> {
    println!("$ {command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed: {status}")),
        Err(e) => Err(format!("{command:?} does not start: {e}")),
    }
}

//! Runs the examples as the README does.

use std::process::Command;

use crate::command::{cargo, finish, root};

/// The clouds on whose emulators in process the order flow runs and is killed: a feature and a test each.
const CLOUDS: [&str; 2] = ["azure", "google"];

/// Runs every example in a temporary folder: the small ones to their end, and the order flow to its
/// summary, on the embedded store and on the emulators of other clouds.
pub(crate) fn run() -> Result<(), String> {
    let folder = root().join("examples");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| folder.join(name).join("Cargo.toml").is_file() && name != "order-processing")
        .collect();
    names.sort_unstable();
    let manifest = root().join("Cargo.toml");
    for name in names {
        let data = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        let mut command = Command::new(env!("CARGO"));
        command
            .args(["run", "--quiet", "--package", &name, "--manifest-path"])
            .arg(&manifest)
            .current_dir(data.path());
        finish(command)?;
    }
    order_flow()?;
    for cloud in CLOUDS {
        cargo(&[
            "test",
            "--package",
            "order-processing",
            "--features",
            cloud,
            "--test",
            cloud,
        ])?;
    }
    Ok(())
}

/// Runs the order flow as the README does, in a temporary folder, and checks the last line.
fn order_flow() -> Result<(), String> {
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
        .map_err(|e| format!("the last line of order-processing is not JSON ({e}): {last}"))?;
    for (field, expected) in [
        ("orders", 500),
        ("lost", 0),
        ("charged_twice", 0),
        ("out_of_order", 0),
    ] {
        if summary[field] != expected {
            return Err(format!(
                "order-processing: expected {field} to be {expected}, got {}",
                summary[field]
            ));
        }
    }
    Ok(())
}

//! Running programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Runs cargo in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), String> {
    finish(cargo_in(&root(), arguments))
}

/// Prepares cargo in a folder.
pub(crate) fn cargo_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(folder).args(arguments);
    command
}

/// Runs a command and fails if it fails.
pub(crate) fn finish(mut command: Command) -> Result<(), String> {
    println!("$ {command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed: {status}")),
        Err(e) => Err(format!("{command:?} does not start: {e}")),
    }
}

/// Returns the standard output of cargo.
pub(crate) fn output(arguments: &[&str]) -> Result<String, String> {
    let mut command = cargo_in(&root(), arguments);
    let output = command
        .output()
        .map_err(|e| format!("{command:?} does not start: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "{command:?} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Returns whether a cargo subcommand is installed.
pub(crate) fn installed(subcommand: &str) -> bool {
    output(&[subcommand, "--version"]).is_ok()
}

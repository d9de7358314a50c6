use std::process::Command;

use clap::Args;

/// The flags of `emulators`.
#[derive(Args)]
pub(crate) struct Options {
    /// The arguments of the integration tests: `cargo run -p integration-tests -- --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// Runs the integration tests. Reports and skips what this machine cannot install or start.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--package", "integration-tests", "--"]);
    cargo.args(arguments);
    println!("$ {cargo:?}");
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("the integration tests failed: the table says where".into()),
        Err(e) => Err(format!("cargo does not start: {e}")),
    }
}

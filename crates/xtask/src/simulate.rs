use std::process::Command;

use clap::Args;

/// The flags of `simulate`.
#[derive(Args)]
pub(crate) struct Options {
    /// The number of seeds to run.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// Replays only this seed.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the simulation tests of the group.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "test",
        "--package",
        "aqueduct-group",
        "--lib",
        "simulation",
        "--",
        "--nocapture",
    ]);
    match options.seed {
        Some(seed) => cargo.env("AQUEDUCT_SEED", seed.to_string()),
        None => cargo.env("AQUEDUCT_SEEDS", options.seeds.to_string()),
    };
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("a seed failed: the output names it; replay it with --seed N".into()),
        Err(e) => Err(format!("cargo does not start: {e}")),
    }
}

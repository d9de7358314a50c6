use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use clap::Args;

/// The flags of `simulate`.
#[derive(Args)]
pub(crate) struct Options {
    /// The number of seeds to run; without it and `--minutes`, 20,000.
    #[arg(long)]
    seeds: Option<u64>,
    /// Goes on for that many minutes.
    #[arg(long, conflicts_with = "seed")]
    minutes: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Replays only this seed, and prints what happens.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Keeps the history of the replayed seed in that file, for `check-history`.
    #[arg(long, requires = "seed")]
    history: Option<std::path::PathBuf>,
}

/// Runs the simulation of the group; its last line of output is JSON.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--package", "aqueduct-group", "--lib"]);
    cargo.args(["simulation::the_meaning", "--", "--nocapture"]);
    if let Some(seed) = options.seed {
        cargo.env("AQUEDUCT_SEED", seed.to_string());
        if let Some(history) = &options.history {
            let history = std::path::absolute(history);
            let history = history.map_err(|e| format!("--history: {e}"))?;
            cargo.env("AQUEDUCT_HISTORY", history);
        }
    } else {
        cargo.env("AQUEDUCT_FIRST", options.first.to_string());
        match (options.seeds, options.minutes) {
            (None, None) => drop(cargo.env("AQUEDUCT_SEEDS", "20000")),
            (seeds, minutes) => {
                for (name, number) in [("AQUEDUCT_SEEDS", seeds), ("AQUEDUCT_MINUTES", minutes)] {
                    if let Some(number) = number {
                        cargo.env(name, number.to_string());
                    }
                }
            }
        }
    }
    let said = |e| format!("cargo does not start: {e}");
    let mut child = cargo.stdout(Stdio::piped()).spawn().map_err(said)?;
    // The summary comes last, behind what the test harness prints.
    let mut summary = None;
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|it| BufReader::new(it).lines())
    {
        let line = line.map_err(|e| format!("the output of cargo: {e}"))?;
        match line.starts_with(r#"{"simulation""#) {
            true => summary = Some(line),
            false => println!("{line}"),
        }
    }
    let status = child.wait().map_err(said)?;
    if let Some(summary) = summary {
        println!("{summary}");
    }
    match status.success() {
        true => Ok(()),
        false => Err("a seed failed: the output names it; replay it with --seed N".into()),
    }
}

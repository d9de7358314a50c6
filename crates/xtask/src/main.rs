//! Tasks of the workspace, so that CI is what a contributor can run.

mod ci;
mod simulate;

use clap::{Parser, Subcommand};

/// Tasks of the Aqueduct workspace.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    after_help = "Examples:\n  cargo xtask ci                   everything that CI runs\n  cargo xtask ci --only fmt,clippy two of its steps\n  cargo xtask simulate --seeds 50000"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs what CI runs: fmt, clippy, test, doc, deny, examples.
    Ci(ci::Options),
    /// Runs the simulation of the group over many seeds, or replays one.
    Simulate(simulate::Options),
}

fn main() -> std::process::ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Ci(options) => ci::run(&options),
        Task::Simulate(options) => simulate::run(&options),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

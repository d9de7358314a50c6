//! Tasks of the workspace, so that CI is what a contributor can run.

mod ci;
mod emulators;
mod simulate;

use clap::{Parser, Subcommand};

/// Tasks of the Aqueduct workspace.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    after_help = "Examples:\n  cargo xtask ci                   everything that CI runs\n  cargo xtask ci --only fmt,clippy two of its steps\n  cargo xtask simulate --seeds 50000\n  cargo xtask emulators --only kinesis-mock"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs what CI runs: fmt, clippy, test, integration, doc, deny, examples.
    Ci(ci::Options),
    /// Runs the simulation of the group over many seeds, or replays one.
    Simulate(simulate::Options),
    /// Runs the suite and the order example on emulators, as far as this machine can install them.
    Emulators(emulators::Options),
}

fn main() -> std::process::ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Ci(options) => ci::run(&options),
        Task::Simulate(options) => simulate::run(&options),
        Task::Emulators(options) => emulators::run(&options.arguments),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

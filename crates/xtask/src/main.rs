//! Tasks of the workspace: what CI runs is what a contributor can run.

mod check;
mod check_history;
mod ci;
mod command;
mod dependencies;
mod emulators;
mod examples;
mod new_backend;
mod packages;
mod plants;
mod simulate;
mod structure;
mod workspace;

use clap::{Parser, Subcommand};

/// Tasks of the Aqueduct workspace.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    after_help = "Examples:\n  cargo xtask check                the inner loop\n  cargo xtask ci                   everything that CI runs\n  cargo xtask ci --only fmt,clippy two of its steps\n  cargo xtask new-backend nats     a skeleton in crates/aqueduct-nats\n  cargo xtask simulate --minutes 5\n  cargo xtask check-history FILE    the verdict on a run\n  cargo xtask plants --only group/  do the simulations find planted faults?\n  cargo xtask emulators --only kinesis-mock"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs the inner loop: format, structure, lints and the tests that need no cloud SDK.
    Check,
    /// Runs what CI runs; `--help` lists the steps.
    Ci(ci::Options),
    /// Checks file names, tables of contents, test binaries, names of public types and the arrows
    /// between crates.
    Structure,
    /// Writes the skeleton of a backend, which compiles and passes the suite with every part
    /// `Unsupported`.
    NewBackend(new_backend::Options),
    /// Judges histories of runs by the rules of the semantics.
    CheckHistory(check_history::Options),
    /// Plants faults in a copy of the tree, and runs the simulations until one is red.
    Plants(plants::Options),
    /// Runs the simulation of the group over many seeds or for minutes, or replays one.
    Simulate(simulate::Options),
    /// Runs the suite and the order example on emulators, as far as this machine can install them.
    Emulators(emulators::Options),
}

fn main() -> std::process::ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check => check::run(),
        Task::Ci(options) => ci::run(&options),
        Task::Structure => structure::run(),
        Task::NewBackend(options) => new_backend::run(&options),
        Task::CheckHistory(options) => check_history::run(&options),
        Task::Plants(options) => plants::run(&options),
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

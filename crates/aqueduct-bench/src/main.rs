//! Every figure that the README quotes: one JSON object a line, one for each contestant.

mod callgrind;
mod measure;
mod memory;
mod payload;
mod sqlite;

use std::alloc::System;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::measure::Figures;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Measures Aqueduct beside others in the same run.
///
/// Prints one JSON object a line, one for each contestant. Seconds depend on the machine and its
/// other load: read them as ratios between the lines of one run. Allocations and instructions hold.
#[derive(Parser)]
#[command(
    name = "aqueduct-bench",
    after_help = "Examples:\n  \
        cargo run --release -p aqueduct-bench -- memory --json\n  \
        cargo run --release -p aqueduct-bench -- memory --json --instructions\n  \
        cargo run --release -p aqueduct-bench -- sqlite --json --events 500000"
)]
struct Arguments {
    /// What to measure.
    scenario: Scenario,
    /// Prints JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Counts instructions too, with valgrind's callgrind (slow; valgrind must be there).
    #[arg(long)]
    instructions: bool,
    /// How many events; each scenario has a default.
    #[arg(long)]
    events: Option<u64>,
    /// Runs that contestant alone.
    #[arg(long)]
    contestant: Option<String>,
    /// Runs that direction alone, `in` or `out`, where the scenario has both.
    #[arg(long, value_parser = ["in", "out"])]
    direction: Option<String>,
    /// Runs that number of events a batch alone.
    #[arg(long)]
    batch: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// 100 B of JSON: produce, decode and ack in memory; beside JSON alone and a tokio channel.
    Memory,
    /// Durable events into a file and out of it; beside a bare rusqlite loop.
    Sqlite,
}

/// One contestant of a scenario at one size of batch.
#[derive(Clone, Copy, Debug)]
struct Contestant {
    name: &'static str,
    /// `in` or `out`, where the scenario has both.
    direction: Option<&'static str>,
    batch: usize,
    run: fn(u64, usize) -> aqueduct_core::Result<Figures>,
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
        }
    }

    fn contestants(self) -> &'static [Contestant] {
        match self {
            Self::Memory => memory::CONTESTANTS,
            Self::Sqlite => sqlite::CONTESTANTS,
        }
    }

    fn default_events(self) -> u64 {
        match self {
            Self::Memory => 1_000_000,
            Self::Sqlite => 500_000,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aqueduct-bench: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                eprintln!("  because: {next}");
                cause = next.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> aqueduct_core::Result<()> {
    let scenario = arguments.scenario;
    let events = arguments.events.unwrap_or(scenario.default_events());
    for contestant in scenario.contestants() {
        let wanted = arguments
            .contestant
            .as_deref()
            .is_none_or(|name| name == contestant.name)
            && arguments
                .batch
                .is_none_or(|batch| batch == contestant.batch);
        if !wanted {
            continue;
        }
        let mut figures = (contestant.run)(events, contestant.batch)?;
        if arguments.instructions {
            figures.instructions_per_event = Some(callgrind::instructions_per_event(
                scenario.name(),
                contestant,
            )?);
        }
        figures.print(scenario.name(), contestant, arguments.json);
    }
    Ok(())
}

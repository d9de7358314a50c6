//! Runs the conformance suite and the order flow against real emulators, which it installs, starts and
//! stops, and against accounts.

mod arguments;
mod cases;
mod command;
mod install;
mod orders;
mod outcome;
mod script;
mod server;
mod services;
mod setup;
mod suites;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::arguments::Arguments;
use crate::outcome::{Outcome, table};
use crate::setup::Setup;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = std::env::var("RUST_LOG").ok();
    let filter = filter.and_then(|filter| filter.parse::<Targets>().ok());
    tracing_subscriber::registry()
        .with(filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::ERROR)))
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .init();
    match run(&arguments).await {
        Ok(code) => code,
        Err(message) => {
            eprintln!("integration-tests: {message}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let all = setup::read_all()?;
    let chosen = arguments.choose(&all)?;
    if arguments.list {
        print!("{}", setup::listing(&chosen));
        return Ok(ExitCode::SUCCESS);
    }
    let outcomes = tokio::select! {
        outcomes = suites::run_all(&chosen, &all, arguments) => outcomes,
        // Servers end when the future is dropped.
        () = stopped() => {
            eprintln!("integration-tests: stopped");
            return Ok(ExitCode::from(130));
        }
    };
    println!("{}", table(&outcomes));
    let failed = outcomes.iter().any(|outcome| outcome.is_failed());
    let skipped = outcomes.iter().any(Outcome::is_skipped);
    Ok(match failed || skipped && arguments.strict {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Returns the setups named; all of them if `names` is empty.
fn select<'a>(all: &'a [Setup], names: &[String]) -> Result<Vec<&'a Setup>, String> {
    for name in names {
        if !all.iter().any(|setup| setup.name == *name) {
            let known: Vec<_> = all.iter().map(|setup| setup.name.as_str()).collect();
            return Err(format!(
                "unknown setup `{name}` (expected one of {})",
                known.join(", ")
            ));
        }
    }
    let wanted = |setup: &&Setup| names.is_empty() || names.contains(&setup.name);
    Ok(all.iter().filter(wanted).collect())
}

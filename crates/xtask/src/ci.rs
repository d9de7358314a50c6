use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::command::{cargo, cargo_in, finish, installed, root};
use crate::{check_history, dependencies, examples, new_backend, packages, structure};

/// The flags of `ci`.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs only these steps, in this order.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Step>,
    /// Checks the advisory database too, which needs the network.
    #[arg(long)]
    advisories: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// The format of every file.
    Fmt,
    /// File names, tables of contents and the arrows between crates.
    Structure,
    /// Dependencies that no source names.
    Dependencies,
    /// Lints of every target.
    Clippy,
    /// Each member without default features, and each feature alone.
    Features,
    /// The fuzz targets compile.
    Fuzz,
    /// The second command of the README.
    Test,
    /// The verdict on the histories that the tests wrote.
    History,
    /// The suite and the order example on emulators.
    Integration,
    /// The documentation.
    Doc,
    /// The packages that would be published.
    Package,
    /// Licences, sources and banned crates.
    Deny,
    /// A generated backend compiles and passes the suite.
    Backend,
    /// The examples run.
    Examples,
}

/// Runs every step, the ones behind a failed step too, so that one run shows all that is wrong.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let steps = match options.only.as_slice() {
        [] => Step::value_variants(),
        only => only,
    };
    let mut failed = Vec::new();
    for step in steps {
        let begun = Instant::now();
        println!("== {step:?}");
        let outcome = run_step(*step, options);
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("== {step:?} done in {seconds:.0} s"),
            Err(why) => {
                println!("== {step:?} FAILED after {seconds:.0} s: {why}");
                failed.push(format!("{step:?}: {why}"));
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("failed steps:\n{}", failed.join("\n")))
}

fn run_step(step: Step, options: &Options) -> Result<(), String> {
    match step {
        Step::Fmt => cargo(&["fmt", "--all", "--check"]),
        Step::Structure => structure::run(),
        Step::Dependencies => dependencies::run(),
        Step::Clippy => cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]),
        Step::Features => packages::features(),
        Step::Fuzz => packages::fuzz(),
        Step::Test => cargo(&["test", "--workspace"]),
        Step::History => check_history::written_by_tests(),
        Step::Integration => crate::emulators::run(&[]),
        Step::Doc => doc(),
        Step::Package => packages::package(),
        Step::Deny => deny(options.advisories),
        Step::Backend => new_backend::try_skeleton(),
        Step::Examples => examples::run(),
    }
}

fn doc() -> Result<(), String> {
    let mut command = cargo_in(&root(), &["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "--deny warnings");
    finish(command)
}

fn deny(advisories: bool) -> Result<(), String> {
    if !installed("deny") {
        return Err("cargo-deny is not installed: run `cargo install --locked cargo-deny`".into());
    }
    let mut arguments = vec![
        "deny",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ];
    match advisories {
        true => arguments.push("advisories"),
        false => {
            println!("skipped: advisories, which need the network: `cargo xtask ci --advisories`");
        }
    }
    cargo(&arguments)
}

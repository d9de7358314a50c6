use clap::Parser;

use crate::select;
use crate::setup::Setup;

/// Runs the conformance suite and the order example against emulators, which it installs, starts and
/// stops, or against an account.
#[derive(Clone, Parser)]
#[command(
    name = "integration-tests",
    after_help = "Examples:\n  \
        cargo run -p integration-tests                             every setup that this machine can run\n  \
        cargo run -p integration-tests -- --list                   the setups, and what each needs\n  \
        cargo run -p integration-tests -- --only ministack,orders\n  \
        cargo run -p integration-tests -- --only kinesis-mock --cases member,reshard\n  \
        AQUEDUCT_AWS_ACCOUNT=1 AWS_PROFILE=sandbox cargo run -p integration-tests -- --only account\n\n\
        Exit codes: 0 nothing failed, and what was skipped is said; 1 something failed, or was\n\
        skipped under --strict; 2 wrong arguments or setups; 130 stopped by a signal."
)]
pub(crate) struct Arguments {
    /// Runs only these setups.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Runs only cases of the suite whose name contains one of these.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub(crate) cases: Vec<String>,
    /// Lists the setups and runs nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// The number of setups that run in parallel.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) jobs: usize,
    /// Treats skipped suites as failed.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Prints a line for every case, not only for failed ones.
    #[arg(long)]
    pub(crate) verbose: bool,
}

impl Arguments {
    /// The setups to run.
    pub(crate) fn choose<'a>(&self, all: &'a [Setup]) -> Result<Vec<&'a Setup>, String> {
        select(all, &self.only)
    }
}

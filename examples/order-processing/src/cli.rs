use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use rust_decimal::Decimal;

/// A real-time order flow: placement, payment, shipping and order management, joined by streams.
///
/// Without flags it generates 1,000 orders, runs every role in this process on the embedded store, and
/// ends with a table. Kill it and start it again: it continues where it stopped.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "order-processing",
    after_help = "Examples:\n  \
        order-processing\n  \
        order-processing --count 50000 --seed 7 --data /var/tmp/orders\n  \
        order-processing --orders orders.jsonl --json\n  \
        order-processing --orders - < orders.jsonl\n  \
        order-processing --role payment --data shop &    each role as a process of its own,\n  \
        order-processing --role shipping --data shop &   on one data folder\n  \
        order-processing --role management --data shop &\n  \
        order-processing --role placement --data shop --orders orders.jsonl\n  \
        order-processing --config clouds.toml            the streams of that configuration\n\n\
        Exit codes: 0 all is well; 1 it could not go on, and says why; 2 wrong arguments;\n\
        3 the audit found something lost, charged twice or out of order; 130 stopped by a signal."
)]
pub(crate) struct Arguments {
    /// Reads orders from this file of JSON lines, or from standard input for `-`.
    #[arg(long, value_name = "PATH|-", conflicts_with_all = ["count", "seed"])]
    pub(crate) orders: Option<PathBuf>,
    /// Generates this many orders.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) count: u64,
    /// The seed of the generated orders: the same seed gives the same orders.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The folder of all state; created if it is missing.
    #[arg(long, value_name = "DIR", default_value = "order-data")]
    pub(crate) data: PathBuf,
    /// Runs only this role; the others run as separate processes on the same folder.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub(crate) role: Role,
    /// Takes streams and groups from this file instead of the embedded store.
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Declines payments above this amount.
    #[arg(long, value_name = "AMOUNT", default_value = "10000")]
    pub(crate) credit_limit: Decimal,
    /// Stops and reports what is missing if nothing has moved for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) stall_timeout: u64,
    /// Prints one line of JSON at the end instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Shows no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// A part of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Every role, in this process.
    All,
    /// Reads, validates and publishes orders.
    Placement,
    /// Charges orders.
    Payment,
    /// Makes shipping labels.
    Shipping,
    /// Keeps each order's state.
    Management,
}

impl Role {
    /// Returns whether a process of this role plays `role`.
    pub(crate) fn plays(self, role: Self) -> bool {
        self == Self::All || self == role
    }
}

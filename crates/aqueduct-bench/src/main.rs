//! Measures every figure that the README quotes: one JSON object per line and contestant.

mod aims;
mod aws;
mod blob_leases;
mod callgrind;
mod eventhubs;
mod measure;
mod memory;
mod orders;
mod payload;
mod pubsub;
mod sqlite;

use std::alloc::System;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::aims::{Aim, Round};
use crate::measure::Figures;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Measures Aqueduct and its alternatives in the same run.
///
/// Prints one line for each contestant, then the aims of the scenario and whether they are met. Seconds
/// depend on the machine and its other load: compare them only within one run. CPU time is that of this
/// process; servers run in another one. Allocations and instructions do not depend on the load.
#[derive(Parser)]
#[command(
    name = "aqueduct-bench",
    after_help = "Examples:\n  \
        cargo run --release -p aqueduct-bench -- memory --json\n  \
        cargo run --release -p aqueduct-bench -- memory --json --instructions\n  \
        cargo run --release -p aqueduct-bench -- sqlite --json --events 500000\n  \
        cargo run --release -p aqueduct-bench -- orders --events 16000\n  \
        cargo run --release -p aqueduct-bench -- kinesis-publish\n  \
        cargo run --release -p aqueduct-bench -- kinesis-limited --contestant aqueduct\n  \
        cargo run --release -p aqueduct-bench -- kinesis-adapter --instructions\n  \
        cargo run --release -p aqueduct-bench -- eventhubs-publish --instructions\n  \
        cargo run --release -p aqueduct-bench -- pubsub-receive\n\
        \nWithout Docker or an account: Kinesis is ferrokinesis; Event Hubs, SQS and Pub/Sub are those of\n\
        aqueduct-emulators, in child processes, and DynamoDB is in process, unless\n\
        AQUEDUCT_BENCH_DYNAMODB, AQUEDUCT_BENCH_SQS or AQUEDUCT_BENCH_PUBSUB names an endpoint."
)]
struct Arguments {
    /// The scenario to measure.
    scenario: Scenario,
    /// Prints JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Also counts instructions, with valgrind's callgrind (slow; needs valgrind).
    #[arg(long)]
    instructions: bool,
    /// The number of events; each scenario has a default. For kinesis-limited it sets the time: one
    /// second per thousand events, the rate of a shard without aggregation.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// The number of rounds, of which the median is printed; each scenario has a default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Runs only this contestant.
    #[arg(long)]
    contestant: Option<String>,
    /// Runs only this direction, `in` or `out`, if the scenario has both.
    #[arg(long, value_parser = ["in", "out"])]
    direction: Option<String>,
    /// Runs only this number of events per batch.
    #[arg(long)]
    batch: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// 100 B of JSON: produce, decode and ack in memory; compared with JSON alone and a tokio channel.
    Memory,
    /// Durable events into a file and out of it; compared with a bare rusqlite loop.
    Sqlite,
    /// Orders through four stages in one SQLite file, every effect once; compared with a hand-made program
    /// on rusqlite. An event here is an order: up to seven events.
    Orders,
    /// 100 B events into 4 shards, aggregated and not; compared with PutRecords of the AWS SDK.
    KinesisPublish,
    /// The same into one shard that accepts 1 MiB/s and 1,000 records/s.
    KinesisLimited,
    /// Events out of 4 shards; compared with a bare loop of GetRecords.
    KinesisConsume,
    /// The same with leases in DynamoDB, and the number of writes for them.
    KinesisLeases,
    /// The client side alone, with responses from memory: for `--instructions`.
    KinesisAdapter,
    /// 100 B events into 4 partitions of an event hub; compared with a loop of the AMQP client, with and
    /// without a round trip of 5 ms.
    EventhubsPublish,
    /// Events out of 4 partitions of an event hub; compared with receivers of the AMQP client.
    EventhubsConsume,
    /// Requests for leases on Blob Storage at 200 and 4,000 events a second, and their price.
    BlobLeases,
    /// Events into a Pub/Sub topic, with ordering keys and without; compared with Google's client.
    PubsubPublish,
    /// Events out of an ordered Pub/Sub subscription; compared with Google's client.
    PubsubReceive,
    /// Events into a Pub/Sub topic, each with an ordering key of its own: what memory and tasks they leave.
    PubsubKeys,
    /// Events into a queue and out of it; compared with SendMessageBatch and ReceiveMessage of the AWS SDK.
    Sqs,
}

/// One contestant of a scenario at one batch size.
#[derive(Clone, Copy, Debug)]
struct Contestant {
    name: &'static str,
    /// `in` or `out`, if the scenario has both.
    direction: Option<&'static str>,
    batch: usize,
    run: fn(u64, usize) -> aqueduct_core::Result<Figures>,
}

/// The options of a run.
struct Plan {
    name: &'static str,
    contestants: &'static [Contestant],
    aims: &'static [Aim],
    events: u64,
    rounds: u32,
}

impl Scenario {
    fn plan(self) -> Plan {
        match self {
            Self::Memory => Plan {
                name: "memory",
                contestants: memory::CONTESTANTS,
                aims: &[],
                events: 1_000_000,
                rounds: 1,
            },
            Self::Sqlite => Plan {
                name: "sqlite",
                contestants: sqlite::CONTESTANTS,
                aims: &[],
                events: 500_000,
                rounds: 1,
            },
            Self::Orders => Plan {
                name: "orders",
                contestants: orders::CONTESTANTS,
                aims: orders::AIMS,
                events: 1_000,
                rounds: 3,
            },
            Self::KinesisPublish => Plan {
                name: "kinesis-publish",
                contestants: aws::kinesis_publish::CONTESTANTS,
                aims: aws::kinesis_publish::AIMS,
                events: 100_000,
                rounds: 2,
            },
            Self::KinesisLimited => Plan {
                name: "kinesis-limited",
                contestants: aws::kinesis_limited::CONTESTANTS,
                aims: aws::kinesis_limited::AIMS,
                events: 8_000,
                rounds: 1,
            },
            Self::KinesisConsume => Plan {
                name: "kinesis-consume",
                contestants: aws::kinesis_consume::CONTESTANTS,
                aims: aws::kinesis_consume::AIMS,
                events: 500_000,
                rounds: 3,
            },
            Self::KinesisLeases => Plan {
                name: "kinesis-leases",
                contestants: aws::kinesis_leases::CONTESTANTS,
                aims: aws::kinesis_leases::AIMS,
                events: 1_000_000,
                rounds: 1,
            },
            Self::KinesisAdapter => Plan {
                name: "kinesis-adapter",
                contestants: aws::kinesis_adapter::CONTESTANTS,
                aims: aws::kinesis_adapter::AIMS,
                events: 200_000,
                rounds: 1,
            },
            Self::EventhubsPublish => Plan {
                name: "eventhubs-publish",
                contestants: eventhubs::publish::CONTESTANTS,
                aims: eventhubs::publish::AIMS,
                events: 200_000,
                rounds: 3,
            },
            Self::EventhubsConsume => Plan {
                name: "eventhubs-consume",
                contestants: eventhubs::consume::CONTESTANTS,
                aims: eventhubs::consume::AIMS,
                events: 200_000,
                rounds: 3,
            },
            Self::BlobLeases => Plan {
                name: "blob-leases",
                contestants: blob_leases::CONTESTANTS,
                aims: blob_leases::AIMS,
                events: 1,
                rounds: 1,
            },
            Self::PubsubPublish => Plan {
                name: "pubsub-publish",
                contestants: pubsub::publish::CONTESTANTS,
                aims: pubsub::publish::AIMS,
                events: 200_000,
                rounds: 3,
            },
            Self::PubsubReceive => Plan {
                name: "pubsub-receive",
                contestants: pubsub::receive::CONTESTANTS,
                aims: pubsub::receive::AIMS,
                events: 20_000,
                rounds: 3,
            },
            Self::PubsubKeys => Plan {
                name: "pubsub-keys",
                contestants: pubsub::keys::CONTESTANTS,
                aims: pubsub::keys::AIMS,
                events: 1_000_000,
                rounds: 1,
            },
            Self::Sqs => Plan {
                name: "sqs",
                contestants: aws::sqs::CONTESTANTS,
                aims: aws::sqs::AIMS,
                events: 20_000,
                rounds: 3,
            },
        }
    }
}

fn main() -> ExitCode {
    let done = match aws::server::asked_for() {
        Some((server, filled)) => server.serve(filled),
        None => run(&Arguments::parse()),
    };
    match done {
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
    let plan = arguments.scenario.plan();
    let events = arguments.events.unwrap_or(plan.events);
    let wanted: Vec<&Contestant> = plan
        .contestants
        .iter()
        .filter(|contestant| arguments.wants(contestant))
        .collect();
    let mut rounds: Vec<Vec<(&Contestant, Figures)>> = Vec::new();
    let count = arguments.rounds.unwrap_or(plan.rounds);
    for round in 1..=count {
        let mut done = Vec::new();
        for contestant in &wanted {
            let mut figures = (contestant.run)(events, contestant.batch)?;
            if arguments.instructions {
                // Instructions are the same in every round.
                figures.instructions = match rounds.first() {
                    Some(first) => first[done.len()].1.instructions,
                    None => Some(callgrind::instructions_per_event(plan.name, contestant)?),
                };
            }
            if count == 1 {
                figures.print(plan.name, contestant, arguments.json);
            } else if round == count {
                let earlier = rounds.iter().map(|round| round[done.len()].1.clone());
                let all = earlier.chain([figures.clone()]).collect();
                if let Some(median) = Figures::median(all) {
                    median.print(plan.name, contestant, arguments.json);
                }
            }
            done.push((*contestant, figures));
        }
        rounds.push(done);
    }
    let rounds: Vec<Round<'_>> = rounds.iter().map(|round| Round(round)).collect();
    for aim in plan.aims {
        aim.print(plan.name, &rounds, arguments.json);
    }
    Ok(())
}

impl Arguments {
    fn wants(&self, contestant: &Contestant) -> bool {
        self.contestant
            .as_deref()
            .is_none_or(|name| name == contestant.name)
            && self.batch.is_none_or(|batch| batch == contestant.batch)
            && (self.direction.is_none() || self.direction.as_deref() == contestant.direction)
    }
}

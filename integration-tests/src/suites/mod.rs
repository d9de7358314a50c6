//! The suites of a setup: the conformance suite of each service, the order flow, scripts.

mod blob;
mod cloud;
mod delete;
mod dynamodb;
mod kinesis;
mod sqs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::StreamExt as _;

use crate::arguments::Arguments;
use crate::install::{cache, install};
use crate::outcome::{Outcome, Verdict};
use crate::server::Server;
use crate::services::Place;
use crate::setup::Setup;
use crate::{cases, command, orders, script};

pub(crate) use self::cloud::Cloud;

/// A suite to run on a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// The conformance suite on streams of Kinesis, leases in memory.
    Kinesis,
    /// The conformance suite on leases and idempotency records in DynamoDB, streams in memory.
    Dynamodb,
    /// The conformance suite on standard queues of SQS.
    Sqs,
    /// The conformance suite on FIFO queues of SQS.
    Fifo,
    /// The conformance suite on leases, idempotency records and dead letters in Blob Storage, streams
    /// in memory.
    Blob,
    /// The cases of leases in the layout of Microsoft's event processors.
    Ownership,
    /// Leases that Microsoft's checkpoint store and Aqueduct take over from each other.
    Takeover,
    /// The order example, killed again and again.
    Orders,
    /// A script of this folder.
    Script,
}

impl Suite {
    const ALL: [Self; 9] = [
        Self::Kinesis,
        Self::Dynamodb,
        Self::Sqs,
        Self::Fifo,
        Self::Blob,
        Self::Ownership,
        Self::Takeover,
        Self::Orders,
        Self::Script,
    ];

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("unknown suite `{name}` (expected one of {known})")
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::Dynamodb => "dynamodb",
            Self::Sqs => "sqs",
            Self::Fifo => "fifo",
            Self::Blob => "blob",
            Self::Ownership => "ownership",
            Self::Takeover => "takeover",
            Self::Orders => "orders",
            Self::Script => "script",
        }
    }

    async fn run(self, setup: &Setup, place: &Place, arguments: &Arguments) -> Verdict {
        match self {
            Self::Kinesis => {
                let fixture = kinesis::Kinesis::new(Cloud::new(setup, place));
                cases::run(self, &fixture, fixture.cloud(), arguments).await
            }
            Self::Dynamodb => {
                let fixture = dynamodb::Dynamodb::new(Cloud::new(setup, place));
                cases::run(self, &fixture, fixture.cloud(), arguments).await
            }
            Self::Sqs | Self::Fifo => {
                let fixture = sqs::Queues::new(Cloud::new(setup, place), self);
                cases::run(self, &fixture, fixture.cloud(), arguments).await
            }
            Self::Blob | Self::Ownership => {
                let (cloud, is_ownership) = (Cloud::new(setup, place), self == Self::Ownership);
                let mut arguments = arguments.clone();
                if is_ownership && arguments.cases.is_empty() {
                    arguments.cases = ["lease", "member", "reset", "seek", "group", "request"]
                        .map(String::from)
                        .into();
                }
                match blob::Blob::new(cloud, is_ownership).await {
                    Ok(fixture) => cases::run(self, &fixture, fixture.cloud(), &arguments).await,
                    Err(why) => Verdict::Failed(why),
                }
            }
            Self::Takeover => blob::take_over(&Cloud::new(setup, place)).await,
            Self::Orders => orders::run(Cloud::new(setup, place)).await,
            Self::Script => script::run(setup).await,
        }
    }
}

/// Runs the suites of each setup, several setups in parallel: cases mostly wait.
pub(crate) async fn run_all(
    chosen: &[&Setup],
    all: &[Setup],
    arguments: &Arguments,
) -> Vec<Outcome> {
    let running = chosen.iter().map(|setup| async move {
        println!("== {}: {}", setup.name, setup.title);
        run_setup(setup, all, arguments).await
    });
    let mut outcomes: Vec<Vec<Outcome>> = futures::stream::iter(running)
        .buffered(arguments.jobs.max(1))
        .collect()
        .await;
    for (setup, first) in chosen.iter().zip(&mut outcomes) {
        if first.iter().any(Outcome::is_failed) {
            println!(
                "== {}: failed; once more, with nothing beside it",
                setup.name
            );
            let second = run_setup(setup, all, arguments).await;
            *first = second
                .into_iter()
                .zip(std::mem::take(first))
                .map(|(second, first)| second.after(first))
                .collect();
        }
    }
    outcomes.into_iter().flatten().collect()
}

async fn run_setup(setup: &Setup, all: &[Setup], arguments: &Arguments) -> Vec<Outcome> {
    let begun = Instant::now();
    let outcome = |suite: Suite, verdict: Verdict, begun: Instant| {
        let outcome = Outcome {
            setup: setup.name.clone(),
            suite: suite.name().into(),
            verdict,
            took: begun.elapsed(),
        };
        println!("-- {}", outcome.line());
        outcome
    };
    let each = |verdict: fn(String) -> Verdict, why: &str| {
        let why = |suite: &Suite| outcome(*suite, verdict(why.to_owned()), begun);
        setup.suites.iter().map(why).collect()
    };
    let installed = match prepare(setup, all).await {
        Ok(installed) => installed,
        Err(why) => return each(Verdict::Skipped, &why),
    };
    let mut servers = Vec::new();
    let mut endpoints = BTreeMap::new();
    for (server, folder, services) in installed {
        match Server::start(server, &folder).await {
            Ok(started) => {
                endpoints.extend(started.endpoints(&services));
                servers.push((server.name.clone(), started));
            }
            Err(why) => return each(Verdict::Failed, &format!("{}: {why}", server.name)),
        }
    }
    let place = match setup.when {
        Some(_) => Place::Account,
        None => Place::Emulators(endpoints),
    };
    let mut outcomes = Vec::new();
    for suite in &setup.suites {
        let begun = Instant::now();
        let verdict = suite.run(setup, &place, arguments).await;
        if let Verdict::Failed(_) = verdict {
            for (name, server) in &servers {
                println!("   {name} said last:\n{}", server.log(15));
            }
        }
        outcomes.push(outcome(*suite, verdict, begun));
    }
    for (_, server) in servers {
        server.stop().await;
    }
    outcomes
}

/// A server to start: its setup, its installation, and the services to start.
type Installed<'a> = (&'a Setup, PathBuf, Vec<crate::services::Service>);

/// Installs the servers of a setup; the error says why this machine cannot run it.
async fn prepare<'a>(setup: &'a Setup, all: &'a [Setup]) -> Result<Vec<Installed<'a>>, String> {
    if let Some(variable) = &setup.when
        && std::env::var_os(variable).is_none()
    {
        return Err(format!("not requested; set {variable}=1"));
    }
    let own = (!setup.start.is_empty()).then(|| (setup, setup.services.clone()));
    let used = setup.from.iter().filter_map(|(service, name)| {
        let server = all.iter().find(|other| other.name == *name)?;
        Some((server, vec![*service]))
    });
    if let Some(why) = command::missing(&setup.needs) {
        return Err(why);
    }
    let mut installed = Vec::new();
    for (server, services) in own.into_iter().chain(used) {
        if let Some(why) = command::missing(&server.needs) {
            return Err(format!("{}: {why}", server.name));
        }
        let folder = install_aside(server, &cache()?).await?;
        installed.push((server, folder, services));
    }
    Ok(installed)
}

async fn install_aside(setup: &Setup, cache: &Path) -> Result<PathBuf, String> {
    let (setup, cache) = (setup.clone(), cache.to_path_buf());
    let installing = tokio::task::spawn_blocking(move || install(&setup, &cache));
    installing.await.map_err(|panic| panic.to_string())?
}

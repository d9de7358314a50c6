//! DynamoDB passes the conformance suite for leases and idempotency records, with a stream in memory.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::{Server, in_process};
use aqueduct_conformance::{
    Combined, Fault, Faults, Fixture, Lack, LayerSet, Subject, SuiteOptions, Timing, run,
    run_through,
};
use aqueduct_core::{Backend as _, Error, Options, Resource, Result, Runtime, StreamSpec, Url};
use aqueduct_emulators::{HttpFault, HttpFaults};
use aqueduct_memory::MemoryBackend;
use aqueduct_runtime::Simulation;
use async_trait::async_trait;

/// `AQUEDUCT_CASES=nack,gap` runs only matching cases.
#[test]
fn a_shared_table_passes_what_it_claims() {
    let report =
        outcome(|runtime| async move { run(&Fixed::new("shared"), &runtime, options()).await });
    report.assert_passed();
}

#[test]
fn a_table_of_one_group_passes_what_it_claims() {
    let report =
        outcome(|runtime| async move { run(&Fixed::new("kcl"), &runtime, options()).await });
    report.assert_passed();
}

#[test]
fn a_table_of_one_group_on_several_streams_passes_what_it_claims() {
    let report = outcome(|runtime| async move {
        // This layout differs only in the keys of its rows, so a part of the suite is enough.
        let stores = ["lease", "member", "reset", "seek", "split"];
        let options = SuiteOptions::default().only(stores);
        run(&Fixed::new("kcl-multi"), &runtime, options).await
    });
    report.assert_passed();
}

#[test]
fn it_passes_what_it_claims_through_the_idempotency_layer() {
    let reports = outcome(|runtime| async move {
        let mut layered = LayerSet::standard();
        layered.retain(|layers| layers.name() == "idempotency");
        assert_eq!(layered.len(), 1);
        let options = match std::env::var_os("AQUEDUCT_CASES") {
            None => SuiteOptions::default().only(WITH_RECORDS.iter().copied()),
            Some(_) => options(),
        };
        run_through(&Fixed::with_records(), &runtime, layered, options).await
    });
    for report in reports {
        report.assert_passed();
    }
}

/// The cases in which records of one event interact: attempts, owners and order.
const WITH_RECORDS: &[&str] = &[
    "abandoned_delivery_comes_again",
    "acks_are_committed_in_time",
    "attempts_survive_a_hand_off",
    "crashes_alone_make_no_dead_letter",
    "dead_member_is_replaced",
    "exhausted_event_becomes_a_dead_letter",
    "flushed_acks_survive_a_crash",
    "lost_lease_revokes_what_is_out",
    "merging_under_load_keeps_order",
    "nack_supersedes_the_rest_of_its_run",
    "nacked_event_comes_again_in_place",
    "reset_replays_everything",
];

fn options() -> SuiteOptions {
    let cases = std::env::var("AQUEDUCT_CASES").unwrap_or_default();
    SuiteOptions::default().only(cases.split(',').filter(|part| !part.is_empty()))
}

/// Runs on virtual time if the server is in this process, otherwise on Tokio's clock.
fn outcome<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce(Runtime) -> F) -> T {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    if in_process() {
        // The SDK's timers need a Tokio runtime; none of them fires in virtual time.
        let _inside = tokio.enter();
        let simulation = Simulation::new(1).with_horizon(Duration::from_secs(24 * 3600));
        let runtime = simulation.runtime();
        simulation.block_on(work(runtime)).unwrap()
    } else {
        tokio.block_on(async { work(aqueduct_runtime::tokio()).await })
    }
}

struct Fixed {
    layout: &'static str,
    server: Server,
    memory: MemoryBackend,
    shared: String,
    made: AtomicU32,
    backlog: usize,
}

impl Fixed {
    fn new(layout: &'static str) -> Self {
        let server = Server::start();
        Self {
            layout,
            shared: server.table(),
            server,
            memory: MemoryBackend::new(),
            made: AtomicU32::new(0),
            backlog: 100_000,
        }
    }

    /// Uses a smaller backlog: each event costs two writes, and the emulator is slow.
    fn with_records() -> Self {
        Self {
            backlog: 300,
            ..Self::new("kcl")
        }
    }

    fn stream(&self, name: &str) -> Result<Arc<dyn Resource>> {
        let url = Url::parse("memory:").map_err(|error| Error::config(error.to_string()))?;
        let options = Options::new("streams.subject");
        self.memory.parse(name, &url, options)
    }

    fn keeper(&self, table: &str, stream: &str, faults: &HttpFaults) -> Result<Arc<dyn Resource>> {
        let id = format!("123456789012:{stream}:1700000000");
        let mut options = vec![("layout", self.layout)];
        if self.layout == "kcl-multi" {
            options.push(("stream_ids", &id));
        }
        self.server.resource(table, faults, &options)
    }
}

#[async_trait]
impl Fixture for Fixed {
    fn name(&self) -> &str {
        match (in_process(), self.layout) {
            (true, "shared") => "memory with DynamoDB (winterbaume), shared",
            (true, "kcl") => "memory with DynamoDB (winterbaume), kcl",
            (true, _) => "memory with DynamoDB (winterbaume), kcl-multi",
            (false, _) => "memory with DynamoDB",
        }
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let name = format!("stream-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let stream = self.stream(&name)?;
        stream.admin(runtime).await?.create(spec).await?;
        let table = match self.layout {
            "shared" => self.shared.clone(),
            _ => self.server.table(),
        };
        let faults = self.server.faults();
        let keeper = self.keeper(&table, &name, &faults)?;
        let peer = Combined {
            stream: self.stream(&name)?,
            keeper: self.keeper(&table, &name, &self.server.faults())?,
        };
        Ok(Subject::new(stream)
            .with_leases(keeper.clone())
            .with_idempotency(keeper)
            .with_peer(Arc::new(peer))
            .with_faults(Arc::new(Injected(faults))))
    }

    fn timing(&self) -> Timing {
        // A server outside of this process runs on a real clock, so its writes take longer.
        let mut timing = Timing::default().scaled(if in_process() { 1 } else { 4 });
        timing.backlog = self.backlog;
        timing
    }

    fn lacks(&self) -> Vec<Lack> {
        if self.layout == "shared" {
            return Vec::new();
        }
        [
            "groups_have_leases_of_their_own",
            "group_is_recorded_once",
            "redriven_dead_letter_is_for_its_group_alone",
            "reset_deletes_leases_in_one_step",
            "two_groups_on_one_store_both_handle",
            "two_groups_see_all",
        ]
        .map(|case| Lack {
            case,
            reason: "a table of KCL's layout belongs to one group",
        })
        .into()
    }
}

struct Injected(HttpFaults);

#[async_trait]
impl Faults for Injected {
    fn offers(&self, fault: Fault) -> bool {
        fault == Fault::LoseLeaseResponse
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::LoseLeaseResponse => self.0.inject("UpdateItem", HttpFault::LoseAnswer),
            other => return Err(Error::unsupported(format!("{other:?}"))),
        }
        Ok(())
    }
}

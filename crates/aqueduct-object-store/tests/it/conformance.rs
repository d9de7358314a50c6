//! Object stores pass the conformance suite for what they store, with a stream in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aqueduct_conformance::{
    Combined, Fault, Faults, Fixture, Lack, LayerSet, Subject, SuiteOptions, Timing, run,
    run_through,
};
use aqueduct_core::{Backend as _, Error, Options, Resource, Result, Runtime, StreamSpec, Url};
use aqueduct_memory::MemoryBackend;
use aqueduct_runtime::Simulation;
use async_trait::async_trait;

use crate::support::{self, Faulty};

/// `AQUEDUCT_CASES=nack,gap` runs only matching cases.
#[test]
fn our_layout_passes_what_it_claims() {
    let report =
        outcome(|runtime| async move { run(&Fixed::new(false), &runtime, options()).await });
    report.assert_passed();
}

#[test]
fn the_layout_of_event_processors_passes_what_it_claims() {
    let report = outcome(|runtime| async move {
        // Only leases differ.
        let options = match std::env::var_os("AQUEDUCT_CASES") {
            None => SuiteOptions::default()
                .only(["lease", "member", "reset", "seek", "group", "request"]),
            Some(_) => options(),
        };
        run(&Fixed::new(true), &runtime, options).await
    });
    report.assert_passed();
}

#[test]
fn they_pass_what_they_claim_through_layers() {
    let reports = outcome(|runtime| async move {
        let mut layered = LayerSet::standard();
        layered.retain(|layers| ["idempotency", "dead_letters"].contains(&layers.name()));
        assert!(!layered.is_empty());
        let options = match std::env::var_os("AQUEDUCT_CASES") {
            None => SuiteOptions::default().only(WITH_RECORDS.iter().copied()),
            Some(_) => options(),
        };
        run_through(&Fixed::new(false), &runtime, layered, options).await
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
    "dead_member_is_replaced",
    "exhausted_event_becomes_a_dead_letter",
    "flushed_acks_survive_a_crash",
    "lost_lease_revokes_what_is_out",
    "nack_supersedes_the_rest_of_its_run",
    "reset_replays_everything",
];

fn options() -> SuiteOptions {
    let cases = std::env::var("AQUEDUCT_CASES").unwrap_or_default();
    SuiteOptions::default().only(cases.split(',').filter(|part| !part.is_empty()))
}

fn outcome<T: Send + 'static, F: Future<Output = T>>(work: impl FnOnce(Runtime) -> F) -> T {
    let simulation = Simulation::new(1).with_horizon(Duration::from_secs(24 * 3600));
    let runtime = simulation.runtime();
    simulation.block_on(work(runtime)).unwrap()
}

struct Fixed {
    is_processor: bool,
    store: Arc<Faulty>,
    memory: MemoryBackend,
    made: AtomicU32,
}

impl Fixed {
    fn new(is_processor: bool) -> Self {
        Self {
            is_processor,
            store: Faulty::new(),
            memory: MemoryBackend::new(),
            made: AtomicU32::new(0),
        }
    }

    fn stream(&self, name: &str) -> Result<Arc<dyn Resource>> {
        let url = Url::parse("memory:").map_err(|error| Error::config(error.to_string()))?;
        let options = Options::new("streams.subject");
        self.memory.parse(name, &url, options)
    }

    /// Each subject has dead letters and records of its own: a listing and a purge see all of them.
    fn keeper(&self, name: &str) -> Result<Arc<dyn Resource>> {
        let mut url = format!("az://shop/leases/{name}");
        if self.is_processor {
            url += "?event_hubs=shop.servicebus.windows.net";
        }
        support::resource(&self.store, &url)
    }
}

#[async_trait]
impl Fixture for Fixed {
    fn name(&self) -> &str {
        match self.is_processor {
            true => "memory with object_store's memory, layout of event processors",
            false => "memory with object_store's memory",
        }
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let name = format!("stream-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let stream = self.stream(&name)?;
        stream.admin(runtime).await?.create(spec).await?;
        let keeper = self.keeper(&name)?;
        let peer = Combined {
            stream: self.stream(&name)?,
            keeper: self.keeper(&name)?,
        };
        Ok(Subject::new(stream)
            .with_leases(keeper.clone())
            .with_idempotency(keeper.clone())
            .with_dead_letters(keeper)
            .with_peer(Arc::new(peer))
            .with_faults(Arc::new(Injected(self.store.clone(), name))))
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        timing.backlog = 10_000;
        timing
    }

    fn lacks(&self) -> Vec<Lack> {
        Vec::new()
    }
}

struct Injected(Arc<Faulty>, String);

#[async_trait]
impl Faults for Injected {
    fn offers(&self, fault: Fault) -> bool {
        fault == Fault::LoseLeaseResponse
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::LoseLeaseResponse => {
                self.0.once(&self.1, support::Fault::LoseResponse);
                Ok(())
            }
            other => Err(Error::unsupported(format!("{other:?}"))),
        }
    }
}

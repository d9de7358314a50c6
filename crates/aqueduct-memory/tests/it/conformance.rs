//! The memory backend passes the conformance suite for all its claims, on a simulated clock and with
//! several seeds.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aqueduct_conformance::{
    Fault, Faults, Fixture, LayerSet, Subject, SuiteOptions, run, run_through,
};
use aqueduct_core::{
    Backend as _, Error, ErrorKind, Options, Resource, Result, Runtime, StreamSpec, Url,
};
use aqueduct_memory::{Applied, MemoryBackend, Operation};
use aqueduct_runtime::Simulation;
use async_trait::async_trait;

/// `AQUEDUCT_SEEDS=3..60` selects other seeds; `AQUEDUCT_CASES=nack,gap` runs only matching cases.
#[test]
fn it_passes_what_it_claims_from_every_seed() {
    let seeds = std::env::var("AQUEDUCT_SEEDS").unwrap_or_else(|_| "0..3".into());
    let (first, end) = seeds.split_once("..").unwrap();
    let cases = std::env::var("AQUEDUCT_CASES").unwrap_or_default();
    let only = cases.split(',').filter(|part| !part.is_empty());
    let options = SuiteOptions::default().only(only);
    let mut failed = Vec::new();
    for seed in first.parse().unwrap()..end.parse::<u64>().unwrap() {
        let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(24 * 3600));
        let fixture = Memory::default();
        let runtime = simulation.runtime();
        let report = simulation.block_on(run(&fixture, &runtime, options.clone()));
        let report = report.unwrap();
        assert!(report.passed() > 0, "no case matches {cases}");
        failed.extend(report.failed().map(|case| format!("seed {seed}: {case}")));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn it_passes_what_it_claims_through_every_layer() {
    let simulation = Simulation::new(1).with_horizon(Duration::from_secs(24 * 3600));
    let (fixture, runtime) = (Memory::default(), simulation.runtime());
    let layered = LayerSet::standard().split_off(1);
    let reports = run_through(&fixture, &runtime, layered, SuiteOptions::default());
    for report in simulation.block_on(reports).unwrap() {
        report.assert_passed();
    }
}

#[derive(Default)]
struct Memory {
    backend: MemoryBackend,
    made: AtomicU32,
}

impl Memory {
    fn resource(&self, name: &str, options: Options) -> Result<Arc<dyn Resource>> {
        let url = Url::parse("memory:").map_err(|error| Error::config(error.to_string()))?;
        self.backend.parse(name, &url, options)
    }
}

#[async_trait]
impl Fixture for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let name = format!("stream-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let stream = self.resource(&name, Options::new("streams.subject"))?;
        stream.admin(runtime).await?.create(spec).await?;
        let peer = self.resource(&name, Options::new("streams.peer"))?;
        let faults = Injected(self.backend.faults(name.as_str()));
        Ok(Subject::new(stream)
            .with_peer(peer)
            .with_faults(Arc::new(faults)))
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        let never = Options::new("streams.missing").with("create", "never");
        self.resource("missing", never).ok()
    }

    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        self.backend.faults("denied").deny(true);
        self.resource("denied", Options::new("streams.denied")).ok()
    }
}

struct Injected(aqueduct_memory::MemoryFaults);

#[async_trait]
impl Faults for Injected {
    fn offers(&self, _: Fault) -> bool {
        true
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        use aqueduct_memory::MemoryFault as Of;
        let faults = &self.0;
        match fault {
            Fault::Throttle => {
                faults.next(Operation::Send, 1, Of::throttled(Duration::from_millis(20)));
            }
            Fault::Refuse => {
                faults.next(Operation::Send, 1, Of::refused(ErrorKind::Unavailable));
            }
            Fault::LoseSendResponse => {
                faults.next(Operation::Send, 1, Of::lost_response(Applied::Yes));
            }
            Fault::Cut => {
                faults.next(Operation::Send, 1, Of::refused(ErrorKind::Unavailable));
                faults.cut_readers();
            }
            Fault::LoseLeaseResponse => {
                faults.next(Operation::LeaseWrite, 1, Of::lost_response(Applied::Yes));
            }
            Fault::Expire => faults.expire_all()?,
            other => return Err(Error::unsupported(format!("{other:?}"))),
        }
        Ok(())
    }
}

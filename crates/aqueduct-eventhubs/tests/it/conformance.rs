//! Event Hubs passes the cases of all its claims, plain and through all layers, on an emulator for each
//! case, which notes what a client does wrong on the wire.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_conformance::{
    Fault, Faults, Fixture, Lack, LayerSet, Subject, SuiteOptions, Timing, run,
};
use aqueduct_core::{Backend as _, Error, Options, Resource, Result, Runtime, StreamSpec, Url};
use aqueduct_emulators::{EventHubs, EventHubsFault, EventHubsOptions};
use aqueduct_memory::{Applied, MemoryBackend, Operation};
use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::common::{Certificate, options as hub_options, resource};

/// Returns the suite's options; `AQUEDUCT_CASES=nack,gap` runs only cases whose names contain these.
fn options() -> SuiteOptions {
    let cases = std::env::var("AQUEDUCT_CASES").unwrap_or_default();
    SuiteOptions::default()
        .parallel(6)
        .only(cases.split(',').filter(|part| !part.is_empty()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims() {
    let fixture = Azure::new(&[], false);
    let report = run(&fixture, &aqueduct_runtime::tokio(), options()).await;
    report.assert_passed();
    fixture.assert_no_violations().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims_with_opaque_offsets_and_a_batch_per_key() {
    let mut fixture = Azure::new(&[("partitioner", "service")], true);
    fixture.backlog = 2_000;
    let report = run(
        &fixture,
        &aqueduct_runtime::tokio(),
        options().themes(OF_RECORDS),
    )
    .await;
    report.assert_passed();
    fixture.assert_no_violations().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims_through_all_layers() {
    let mut fixture = Azure::new(&[], false);
    fixture.backlog = 1_000;
    let options = options().themes(OF_LAYERS).through(LayerSet::combined());
    let report = run(&fixture, &aqueduct_runtime::tokio(), options).await;
    report.assert_passed();
    fixture.assert_no_violations().await;
}

/// The themes on which offsets and batches have a bearing; leases, records and dead letters are in
/// memory, and the first run tests the group on them.
const OF_RECORDS: [&str; 9] = [
    "fields",
    "sending",
    "producer engine",
    "log",
    "changes of a log",
    "consuming",
    "starts and gaps",
    "resuming",
    "bounds",
];

/// The themes on which layers have a bearing: they wrap the producer, and the group instead of the log.
/// The memory backend runs all cases through every layer.
const OF_LAYERS: [&str; 7] = [
    "fields",
    "sending",
    "producer engine",
    "closing",
    "settling",
    "dead letters",
    "handling once",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims_over_tls() {
    let certificate = Certificate::new();
    let mut fixture = Azure::new(&[("ca_file", &certificate.ca_file())], false);
    fixture.certificate = Some(certificate);
    fixture.backlog = 1_000;
    let report = run(&fixture, &aqueduct_runtime::tokio(), options()).await;
    report.assert_passed();
    fixture.assert_no_violations().await;
}

/// The cases that lose connections: what is above a connection does not see how it is carried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_cases_of_lost_connections_in_a_websocket() {
    let fixture = Azure::new(&[("transport", "websocket")], false);
    let cases = ["cut_", "unknown_outcome", "lost_response"];
    let report = run(&fixture, &aqueduct_runtime::tokio(), options().only(cases)).await;
    report.assert_passed();
    fixture.assert_no_violations().await;
}

/// The cases in which the order across keys matters.
const NEED_ONE_ORDER: [&str; 3] = [
    "blocked_key_is_named_and_bounded",
    "exhausted_key_follows_into_the_dead_letters",
    "seek_moves_one_partition",
];

/// Starts an emulator for each case; leases, idempotency records and dead letters are in memory.
struct Azure {
    options: Vec<(&'static str, String)>,
    opaque_offsets: bool,
    certificate: Option<Certificate>,
    backlog: usize,
    started: Mutex<Vec<Arc<EventHubs>>>,
}

impl Azure {
    fn new(options: &[(&'static str, &str)], opaque_offsets: bool) -> Self {
        let options = options
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Self {
            options: options.collect(),
            opaque_offsets,
            certificate: None,
            backlog: 10_000,
            started: Mutex::default(),
        }
    }

    /// Opens the hub `name` with the options of the fixture and `more`.
    fn resource(
        &self,
        server: &EventHubs,
        name: &str,
        more: &[(&'static str, &str)],
    ) -> Result<Arc<dyn Resource>> {
        let ours = self
            .options
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let all: Vec<_> = ours.chain(more.iter().copied()).collect();
        resource(server, name, &all)
    }

    async fn start(&self, mut options: EventHubsOptions) -> Result<Arc<EventHubs>> {
        if let Some(certificate) = &self.certificate {
            options = certificate.on(options);
        }
        let started = EventHubs::start(options).await;
        let server = Arc::new(started.map_err(|error| Error::config(error.to_string()))?);
        self.started.lock().await.push(server.clone());
        Ok(server)
    }

    /// Returns where events with a key of a stream with one partition are sent.
    fn sends_to(&self) -> &'static str {
        match self.options.iter().any(|(_, value)| value == "service") {
            true => "orders",
            false => "orders/Partitions/0",
        }
    }

    async fn assert_no_violations(&self) {
        for server in &*self.started.lock().await {
            let violations = server.violations();
            assert!(violations.is_empty(), "{violations:?}");
        }
    }
}

#[async_trait]
impl Fixture for Azure {
    fn name(&self) -> &str {
        "eventhubs on the emulator"
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        timing.backlog = self.backlog;
        // A connection takes several round trips, each of them long while other tests run.
        timing.quiet = Duration::from_secs(1);
        timing.deadline = Duration::from_secs(60);
        timing.case = Duration::from_secs(180);
        timing.lease_ttl = Duration::from_secs(3);
        timing
    }

    async fn open(&self, spec: &StreamSpec, _: &Runtime) -> Result<Subject> {
        let partitions = spec.partitions.unwrap_or(1) as usize;
        let mut options = hub_options("orders", partitions);
        if self.opaque_offsets {
            options = options.with_opaque_offsets();
        }
        let server = self.start(options).await?;
        let memory = MemoryBackend::new();
        let url = Url::parse("memory:").map_err(|error| Error::config(error.to_string()))?;
        let stores = memory.parse("orders", &url, Options::new("streams.stores"))?;
        let faults = Injected {
            server: server.clone(),
            partitions,
            sends_to: self.sends_to(),
            memory: memory.faults("orders"),
        };
        Ok(Subject::new(self.resource(&server, "orders", &[])?)
            .with_leases(stores.clone())
            .with_idempotency(stores.clone())
            .with_dead_letters(stores)
            .with_peer(self.resource(&server, "orders", &[])?)
            .with_faults(Arc::new(faults)))
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        let server = self.start(EventHubsOptions::new()).await.ok()?;
        self.resource(&server, "missing", &[]).ok()
    }

    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        let options = hub_options("orders", 1).with_key("sender", "the-right-key");
        let server = self.start(options).await.ok()?;
        let wrong = server.connection_string().replace("the-right-key", "wrong");
        let more = [("connection_string", wrong.as_str())];
        self.resource(&server, "orders", &more).ok()
    }

    fn lacks(&self) -> Vec<Lack> {
        let reason = "Azure Resource Manager deletes hubs";
        let lack = |case| Lack { case, reason };
        let mut lacks = vec![
            lack("deleted_stream_is_missing"),
            lack("recreated_stream_is_another"),
        ];
        if self.sends_to() == "orders" {
            let reason = "it needs one order of all keys, and a batch per key has none";
            lacks.extend(NEED_ONE_ORDER.map(|case| Lack { case, reason }));
        }
        lacks
    }
}

struct Injected {
    server: Arc<EventHubs>,
    partitions: usize,
    sends_to: &'static str,
    memory: aqueduct_memory::MemoryFaults,
}

#[async_trait]
impl Faults for Injected {
    fn offers(&self, _: Fault) -> bool {
        true
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        let next_send = |fault| self.server.inject(self.sends_to, fault);
        match fault {
            Fault::Throttle => next_send(EventHubsFault::Busy),
            Fault::Refuse => next_send(EventHubsFault::Release),
            Fault::LoseSendResponse => next_send(EventHubsFault::CutAfterStore),
            Fault::Cut => self.server.cut_connections(),
            Fault::LoseLeaseResponse => {
                let lost = aqueduct_memory::MemoryFault::lost_response(Applied::Yes);
                self.memory.next(Operation::LeaseWrite, 1, lost);
            }
            Fault::Expire => {
                for partition in 0..self.partitions {
                    self.server.expire("orders", partition, i64::MAX);
                }
            }
            _ => return Err(Error::unsupported(format!("{fault:?}"))),
        }
        Ok(())
    }
}

//! Kinesis passes the cases of all its claims on an in-process emulator: plain over TLS and HTTP/2, as the
//! service speaks, and in other formats and through all layers over HTTP/1.1.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use aqueduct_conformance::{
    Fault, Faults, Fixture, Lack, LayerSet, Subject, SuiteOptions, Timing, run,
};
use aqueduct_core::{Backend as _, Error, Options, Resource, Result, Runtime, StreamSpec, Url};
use aqueduct_emulators::{HttpFault, HttpFaults, KinesisServer};
use aqueduct_memory::{Applied, MemoryBackend, Operation};
use async_trait::async_trait;

use crate::common::{Server, Stream};

/// Returns the suite's options; `AQUEDUCT_CASES=nack,gap` runs only cases whose names contain these.
fn options() -> SuiteOptions {
    let cases = std::env::var("AQUEDUCT_CASES").unwrap_or_default();
    // Signing and parsing take most of the time here: with many cases at once, leases are lost
    // because there are too few processors.
    SuiteOptions::default()
        .parallel(6)
        .only(cases.split(',').filter(|part| !part.is_empty()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims_over_tls_and_http2() {
    let mut fixture = Kinesis::new(&[]).await;
    fixture.server = Arc::new(Server::secure(KinesisServer::quick()).await);
    let report = run(&fixture, &aqueduct_runtime::tokio(), options()).await;
    report.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims_in_records_of_their_own_in_protobuf() {
    let settings = &[("aggregation", "off"), ("encoding", "cloudevents-protobuf")];
    let mut fixture = Kinesis::new(settings).await;
    // A request has one record of each key: ten keys make ten events per request.
    fixture.backlog = 1_000;
    let report = run(
        &fixture,
        &aqueduct_runtime::tokio(),
        options().themes(OF_RECORDS),
    )
    .await;
    report.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims_through_all_layers() {
    let mut fixture = Kinesis::new(&[]).await;
    fixture.backlog = 1_000;
    let runtime = aqueduct_runtime::tokio();
    let options = options().themes(OF_LAYERS).through(LayerSet::combined());
    run(&fixture, &runtime, options).await.assert_passed();
}

/// The themes on which the format of records has a bearing; leases, records and dead letters are in
/// memory, and the first run tests the group on them.
const OF_RECORDS: [&str; 8] = [
    "fields",
    "sending",
    "producer engine",
    "log",
    "changes of a log",
    "consuming",
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

/// The cases that make a thousand requests in sequence when each event is a record.
const MANY_REQUESTS: [&str; 2] = [
    "ten_keys_in_order_under_retries",
    "lost_responses_keep_order_when_resent",
];

/// One emulator; leases, idempotency records and dead letters in memory.
struct Kinesis {
    server: Arc<Server>,
    options: &'static [(&'static str, &'static str)],
    backlog: usize,
}

impl Kinesis {
    async fn new(options: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            server: Arc::new(Server::quick().await),
            options,
            backlog: 10_000,
        }
    }
}

#[async_trait]
impl Fixture for Kinesis {
    fn name(&self) -> &str {
        "kinesis on ferrokinesis 0.7"
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        timing.backlog = self.backlog;
        // The emulator stores arrival times in seconds, not milliseconds.
        timing.quiet = Duration::from_millis(1100);
        // A request takes several times as long while other tests run.
        timing.deadline = Duration::from_secs(60);
        timing.case = Duration::from_secs(180);
        timing.lease_ttl = Duration::from_secs(3);
        timing
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let name = self.server.name();
        let stream = self.server.at(&name, self.options);
        let mut spec = *spec;
        // The emulator does not create streams on demand.
        spec.partitions.get_or_insert(1);
        stream.resource.admin(runtime).await?.create(&spec).await?;
        let memory = MemoryBackend::new();
        let url = Url::parse("memory:").map_err(|error| Error::config(error.to_string()))?;
        let stores = memory.parse(&name, &url, Options::new("streams.stores"))?;
        let peer = self.server.at(&name, self.options).resource;
        let faults = Injected {
            server: self.server.clone(),
            requests: stream.faults.clone(),
            memory: memory.faults(name.as_str()),
            name,
        };
        Ok(Subject::new(stream.resource)
            .with_leases(stores.clone())
            .with_idempotency(stores.clone())
            .with_dead_letters(stores)
            .with_peer(peer)
            .with_faults(Arc::new(faults)))
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        Some(self.server.at("missing", self.options).resource)
    }

    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        let denied: Stream = self.server.at("denied", self.options);
        for operation in ["DescribeStreamSummary", "ListShards", "PutRecords"] {
            for _ in 0..100 {
                denied.faults.inject(
                    operation,
                    HttpFault::Error(400, "AccessDeniedException", "not for you"),
                );
            }
        }
        Some(denied.resource)
    }

    fn lacks(&self) -> Vec<Lack> {
        let lack = |case, reason| Lack { case, reason };
        let mut lacks = Vec::new();
        if self.options.is_empty() {
            let reason = "JSON has no bytes; shown with the protobuf format";
            lacks.push(lack("attribute_types_round_trip", reason));
        } else {
            let reason = "ten keys are ten records a request: minutes; shown with aggregation";
            lacks.extend(MANY_REQUESTS.map(|case| lack(case, reason)));
            let reason = "it needs one order of all keys, and other keys' records go ahead";
            lacks.push(lack("blocked_key_is_named_and_bounded", reason));
        }
        lacks
    }
}

struct Injected {
    server: Arc<Server>,
    requests: HttpFaults,
    memory: aqueduct_memory::MemoryFaults,
    name: String,
}

#[async_trait]
impl Faults for Injected {
    fn offers(&self, _: Fault) -> bool {
        true
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        let put = |fault| self.requests.inject("PutRecords", fault);
        match fault {
            Fault::Throttle => put(HttpFault::Error(
                400,
                "ProvisionedThroughputExceededException",
                "Rate exceeded",
            )),
            Fault::Refuse => put(HttpFault::Refuse),
            Fault::LoseSendResponse => put(HttpFault::LoseAnswer),
            Fault::Cut => {
                put(HttpFault::Refuse);
                for operation in ["GetRecords", "GetShardIterator"] {
                    self.requests.inject_once(operation, HttpFault::Refuse);
                }
            }
            Fault::LoseLeaseResponse => {
                let lost = aqueduct_memory::MemoryFault::lost_response(Applied::Yes);
                self.memory.next(Operation::LeaseWrite, 1, lost);
            }
            Fault::Expire => self.server.kinesis.expire(&self.name).await,
            _ => return Err(Error::unsupported(format!("{fault:?}"))),
        }
        Ok(())
    }
}

//! Hubs on an emulator of their own.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchProducer, Error, OpenPartition, Options, PartitionId, PartitionReader,
    PartitionedLog, ReadFrom, Record, Resource, Result, Runtime, Source, Url,
};
use aqueduct_emulators::{EventHubs, EventHubsOptions};
use aqueduct_eventhubs::EventHubsBackend;

/// The groups that tests read by.
pub(crate) const GROUPS: [&str; 7] = [
    "group", "other", "one", "two", "billing", "failing", "readers",
];

/// The options of an emulator with the hub `name` and every group of the tests.
pub(crate) fn options(name: &str, partitions: usize) -> EventHubsOptions {
    let hub = EventHubsOptions::new().with_hub(name, partitions);
    GROUPS
        .iter()
        .fold(hub, |hub, group| hub.with_consumer_group(name, group))
}

/// An emulator with one hub, and a resource on it.
pub(crate) struct Hub {
    pub(crate) server: Arc<EventHubs>,
    pub(crate) resource: Arc<dyn Resource>,
    pub(crate) runtime: Runtime,
}

impl Hub {
    pub(crate) async fn start(partitions: usize, more: &[(&'static str, &str)]) -> Self {
        Self::with(options("orders", partitions), more).await
    }

    pub(crate) async fn with(options: EventHubsOptions, more: &[(&'static str, &str)]) -> Self {
        let server = Arc::new(EventHubs::start(options).await.unwrap());
        let resource = resource(&server, "orders", more).unwrap();
        Self {
            server,
            resource,
            runtime: aqueduct_runtime::tokio(),
        }
    }

    pub(crate) fn again(&self, more: &[(&'static str, &str)]) -> Arc<dyn Resource> {
        resource(&self.server, "orders", more).unwrap()
    }

    pub(crate) async fn producer(&self) -> Arc<dyn BatchProducer> {
        self.resource.producer(&self.runtime).await.unwrap()
    }

    pub(crate) async fn log(&self) -> Arc<dyn PartitionedLog> {
        log(&*self.resource, &self.runtime).await.unwrap()
    }
}

pub(crate) async fn log(
    resource: &dyn Resource,
    runtime: &Runtime,
) -> Result<Arc<dyn PartitionedLog>> {
    match resource.source(runtime).await? {
        Source::Log(log) => Ok(log),
        _ => Err(Error::unsupported("no log")),
    }
}

/// Opens the hub `name` as another process would.
pub(crate) fn resource(
    server: &EventHubs,
    name: &str,
    more: &[(&'static str, &str)],
) -> Result<Arc<dyn Resource>> {
    let url = Url::parse(&format!("eventhubs:{name}")).unwrap();
    let mut options = Options::new("streams.subject");
    for (name, value) in more {
        options = options.with(*name, *value);
    }
    if !options.contains("connection_string") {
        options = options.with("connection_string", server.connection_string());
    }
    EventHubsBackend::new().parse(name, &url, options)
}

/// A certificate of the test's own for `localhost`, and the file to trust it by.
pub(crate) struct Certificate {
    certificate: String,
    key: String,
    folder: tempfile::TempDir,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            folder,
        }
    }

    /// Makes an emulator serve TLS alone.
    pub(crate) fn on(&self, options: EventHubsOptions) -> EventHubsOptions {
        options.with_tls(&self.certificate, &self.key)
    }

    /// Returns the value of the option `ca_file`.
    pub(crate) fn ca_file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }
}

pub(crate) fn request(partition: &str, from: ReadFrom) -> OpenPartition {
    let mut request = OpenPartition::new("group".into(), PartitionId::new(partition), from);
    request.max_wait = Duration::from_millis(200);
    request
}

/// Reads until there are `count` records.
pub(crate) async fn read(reader: &mut dyn PartitionReader, count: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    until(&format!("{count} records"), async || {
        let batch = reader.read(count - records.len()).await.unwrap();
        records.extend(batch.records);
        (records.len() >= count).then_some(())
    })
    .await;
    records
}

/// Returns the error of opening, or of the first reads.
pub(crate) async fn refusal(log: &dyn PartitionedLog, request: &OpenPartition) -> Error {
    match log.open(request).await {
        Err(error) => error,
        Ok(mut reader) => until("the refusal", async || reader.read(10).await.err()).await,
    }
}

pub(crate) fn text(record: &Record) -> &str {
    std::str::from_utf8(record.event.data().unwrap()).unwrap()
}

pub(crate) fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(text).collect()
}

/// Waits until `done` returns a value.
pub(crate) async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(answer) = done().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(90), waiting).await {
        Ok(answer) => answer,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct_core::{
    Backend as _, BatchProducer, Event, GroupName, OpenPartition, Options, PartitionId,
    PartitionReader, PartitionedLog, ReadFrom, Record, Resource, Result, Runtime, Source, Url,
};
use aqueduct_sqlite::{SqliteBackend, SqliteOptions, SqliteStore};
use tempfile::TempDir;

/// A folder with its own backend and runtime.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) backend: SqliteBackend,
    pub(crate) runtime: Runtime,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            backend: SqliteBackend::new(),
            runtime: aqueduct_runtime::tokio(),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("events.db")
    }

    pub(crate) fn resource(
        &self,
        stream: &str,
        options: &[(&'static str, &str)],
    ) -> Arc<dyn Resource> {
        resource(&self.backend, &self.file(), stream, options).unwrap()
    }

    pub(crate) async fn store(&self) -> SqliteStore {
        self.backend
            .store(self.file(), SqliteOptions::default(), &self.runtime)
            .await
            .unwrap()
    }

    pub(crate) async fn producer(
        &self,
        options: &[(&'static str, &str)],
    ) -> Arc<dyn BatchProducer> {
        let resource = self.resource("orders", options);
        resource.producer(&self.runtime).await.unwrap()
    }

    pub(crate) async fn log(&self, options: &[(&'static str, &str)]) -> Arc<dyn PartitionedLog> {
        log_of(&*self.resource("orders", options), &self.runtime)
            .await
            .unwrap()
    }
}

pub(crate) fn resource(
    backend: &SqliteBackend,
    file: &Path,
    stream: &str,
    options: &[(&'static str, &str)],
) -> Result<Arc<dyn Resource>> {
    let url = Url::parse(&format!("sqlite:{}", file.display())).unwrap();
    let options = options
        .iter()
        .fold(Options::new("streams.orders"), |all, (name, value)| {
            all.with(*name, *value)
        });
    backend.parse(stream, &url, options)
}

pub(crate) async fn log_of(
    resource: &dyn Resource,
    runtime: &Runtime,
) -> Result<Arc<dyn PartitionedLog>> {
    match resource.source(runtime).await? {
        Source::Log(log) => Ok(log),
        _ => panic!("SQLite has a log"),
    }
}

pub(crate) fn event(key: &str, n: u64) -> Event {
    Event::json("order.placed", &n)
        .unwrap()
        .with_source("/shop")
        .with_key(key)
}

pub(crate) fn number(record: &Record) -> u64 {
    record.event.decode_json().unwrap()
}

pub(crate) async fn send(producer: &dyn BatchProducer, events: &[Event]) {
    producer.send_batch(events).await.into_result().unwrap();
}

pub(crate) fn request(partition: &PartitionId, from: ReadFrom) -> OpenPartition {
    let mut request = OpenPartition::new(GroupName::new("billing"), partition.clone(), from);
    request.max_wait = Duration::from_millis(20);
    request
}

pub(crate) async fn open(
    log: &dyn PartitionedLog,
    partition: &str,
    from: ReadFrom,
) -> Box<dyn PartitionReader> {
    log.open(&request(&partition.into(), from)).await.unwrap()
}

/// Reads all events that a partition has now.
pub(crate) async fn read_all(log: &dyn PartitionedLog, partition: &PartitionId) -> Vec<Record> {
    let request = request(partition, ReadFrom::Earliest);
    let mut reader = log.open(&request).await.unwrap();
    let mut records = Vec::new();
    loop {
        let batch = reader.read(1000).await.unwrap();
        let ended = batch.end.is_some();
        let tail = batch.tail.and_then(|tail| tail.events_behind);
        records.extend(batch.records);
        if ended || tail == Some(0) {
            return records;
        }
    }
}

/// Reads all events that a stream has now, partition after partition.
pub(crate) async fn read_stream(log: &dyn PartitionedLog) -> Vec<Record> {
    let mut records = Vec::new();
    for partition in log.partitions().await.unwrap() {
        records.extend(read_all(log, &partition.id).await);
    }
    records
}

/// Waits until `done` returns `true`; panics at the deadline.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let begun = Instant::now();
    while !done().await {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "still waiting: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

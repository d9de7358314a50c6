//! One stream on a simulated clock. Each test file uses part of this module.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchProducer, Event, GroupName, OpenPartition, Options, Partition, PartitionId,
    PartitionReader, PartitionedLog, ReadFrom, Resource, Runtime, Source, Url,
};
use aqueduct_memory::MemoryBackend;
use aqueduct_runtime::Simulation;

pub const SECOND: Duration = Duration::from_secs(1);

/// One stream in its own backend, on a simulated clock.
pub struct Harness {
    pub simulation: Simulation,
    pub runtime: Runtime,
    pub backend: MemoryBackend,
    pub resource: Arc<dyn Resource>,
}

impl Harness {
    pub fn new(options: &[(&'static str, &'static str)]) -> Self {
        Self::seeded(1, options)
    }

    pub fn seeded(seed: u64, options: &[(&'static str, &'static str)]) -> Self {
        let simulation = Simulation::new(seed).with_horizon(1_000_000 * SECOND);
        let backend = MemoryBackend::new();
        Self {
            runtime: simulation.runtime(),
            simulation,
            resource: resource(&backend, options),
            backend,
        }
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.simulation.block_on(future).unwrap()
    }

    pub fn producer(&self) -> Arc<dyn BatchProducer> {
        self.run(self.resource.producer(&self.runtime)).unwrap()
    }

    pub fn log(&self) -> Arc<dyn PartitionedLog> {
        match self.run(self.resource.source(&self.runtime)).unwrap() {
            Source::Log(log) => log,
            _ => panic!("memory is a log"),
        }
    }

    pub fn partitions(&self) -> Vec<Partition> {
        self.run(self.log().partitions()).unwrap()
    }

    pub fn send(&self, events: &[Event]) -> Vec<aqueduct_core::Result<aqueduct_core::Receipt>> {
        self.run(self.producer().send_batch(events)).into_outcomes()
    }

    pub fn reader(&self, partition: &str, from: ReadFrom) -> Box<dyn PartitionReader> {
        self.run(self.log().open(&request(partition, from)))
            .unwrap()
    }

    /// Returns the data of every event in a partition.
    pub fn read_all(&self, partition: &str) -> Vec<String> {
        let mut reader = self.reader(partition, ReadFrom::Earliest);
        let batch = self.run(reader.read(usize::MAX)).unwrap();
        batch
            .records
            .iter()
            .map(|record| text(&record.event))
            .collect()
    }
}

pub fn resource(
    backend: &MemoryBackend,
    options: &[(&'static str, &'static str)],
) -> Arc<dyn Resource> {
    let options = options
        .iter()
        .fold(Options::new("streams.orders"), |options, (name, value)| {
            options.with(*name, *value)
        });
    let url = Url::parse("memory:").unwrap();
    backend.parse("orders", &url, options).unwrap()
}

pub fn request(partition: &str, from: ReadFrom) -> OpenPartition {
    OpenPartition::new(
        GroupName::from("billing"),
        PartitionId::from(partition),
        from,
    )
}

pub fn event(key: impl Into<Option<&'static str>>, data: impl ToString) -> Event {
    let event = Event::bytes("test", "text/plain", data.to_string()).with_source("/test");
    match key.into() {
        Some(key) => event.with_key(key),
        None => event,
    }
}

pub fn text(event: &Event) -> String {
    String::from_utf8(event.data().unwrap().to_vec()).unwrap()
}

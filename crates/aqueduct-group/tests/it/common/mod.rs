//! A stream in memory on a simulated clock, and processes that consume it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod skewed;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchConsumer, Delivery, Event, GroupKey, LeaseStore, Options, PartitionedLog,
    Result, Runtime, Source, Url,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_memory::MemoryBackend;
use aqueduct_runtime::Simulation;

pub const SECOND: Duration = Duration::from_secs(1);

pub struct Harness {
    pub simulation: Simulation,
    pub runtime: Runtime,
    pub backend: MemoryBackend,
    pub resource: Arc<dyn aqueduct_core::Resource>,
}

impl Harness {
    pub fn new(partitions: &'static str) -> Self {
        Self::seeded(7, partitions)
    }

    pub fn seeded(seed: u64, partitions: &'static str) -> Self {
        let simulation = Simulation::new(seed).with_horizon(100_000 * SECOND);
        let backend = MemoryBackend::new();
        let options = Options::new("test").with("partitions", partitions);
        let url = Url::parse("memory:orders").unwrap();
        Self {
            runtime: simulation.runtime(),
            resource: backend.parse("orders", &url, options).unwrap(),
            simulation,
            backend,
        }
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.simulation.block_on(future).unwrap()
    }

    pub fn log(&self) -> Arc<dyn PartitionedLog> {
        match self.run(self.resource.source(&self.runtime)).unwrap() {
            Source::Log(log) => log,
            _ => panic!("memory is a log"),
        }
    }

    pub fn leases(&self) -> Arc<dyn LeaseStore> {
        self.run(self.resource.leases(&self.runtime)).unwrap()
    }

    /// Sends `count` events, event `n` of key `n % keys` and type `n`.
    pub fn send(&self, from: usize, count: usize, keys: usize) {
        let producer = self.run(self.resource.producer(&self.runtime)).unwrap();
        let events: Vec<_> = (from..from + count)
            .map(|n| {
                Event::new(n.to_string())
                    .with_source("/test")
                    .with_key(format!("k{}", n % keys))
            })
            .collect();
        for outcome in self.run(producer.send_batch(&events)).into_outcomes() {
            outcome.unwrap();
        }
    }

    /// Sends `count` events, each of a key of its own.
    pub async fn send_later(&self, from: usize, count: usize) {
        let producer = self.resource.producer(&self.runtime).await.unwrap();
        let events: Vec<_> = (from..from + count)
            .map(|n| {
                Event::new(n.to_string())
                    .with_source("/test")
                    .with_key(format!("k{n}"))
            })
            .collect();
        for outcome in producer.send_batch(&events).await.into_outcomes() {
            outcome.unwrap();
        }
    }

    pub fn key(&self) -> GroupKey {
        GroupKey::new("billing", "orders")
    }

    pub fn options(&self) -> GroupOptions {
        GroupOptions::new("billing".into())
    }

    pub fn open(&self, runtime: &Runtime, options: GroupOptions) -> Arc<dyn BatchConsumer> {
        self.try_open(runtime, options).unwrap()
    }

    pub fn try_open(
        &self,
        runtime: &Runtime,
        options: GroupOptions,
    ) -> Result<Arc<dyn BatchConsumer>> {
        self.run(Group::open(self.log(), self.leases(), options, runtime))
    }

    /// Receives and acknowledges until nothing comes for a minute; returns the types.
    pub fn drink(&self, consumer: &Arc<dyn BatchConsumer>) -> Vec<usize> {
        let mut seen = Vec::new();
        self.run(async {
            while let Some(batch) = self.receive(consumer, 60 * SECOND).await {
                for delivery in batch {
                    seen.push(number(&delivery));
                    delivery.ack().await.unwrap();
                }
            }
        });
        seen
    }

    /// One batch, where one comes in time.
    pub async fn receive(
        &self,
        consumer: &Arc<dyn BatchConsumer>,
        within: Duration,
    ) -> Option<Vec<Delivery>> {
        let received = consumer.receive_batch(100);
        match self.runtime.timeout(within, "receive", received).await {
            Ok(batch) => Some(batch.unwrap()),
            Err(_) => None,
        }
    }

    pub fn sleep(&self, duration: Duration) {
        self.run(self.runtime.sleep(duration));
    }
}

pub fn number(delivery: &Delivery) -> usize {
    delivery.event().kind().parse().unwrap()
}

pub fn owned(consumer: &Arc<dyn BatchConsumer>) -> usize {
    consumer.status().partitions.len()
}

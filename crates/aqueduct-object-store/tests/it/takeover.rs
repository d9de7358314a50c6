//! A group as it runs takes over from an event processor that died, and from one that stopped.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchConsumer, Event, Options, Resource, Runtime, Source, StreamSpec, Url,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_memory::MemoryBackend;
use aqueduct_runtime::Simulation;

use crate::support::{Faulty, resource};

const URL: &str = "az://shop/leases?event_hubs=shop.servicebus.windows.net";
const FOLDER: &str = "shop.servicebus.windows.net/orders/billing";

#[test]
fn a_group_goes_on_behind_the_checkpoint_of_a_processor() {
    // A processor that died leaves its name, one that stopped an empty one.
    for owner in ["python", ""] {
        let simulation = Simulation::new(3).with_horizon(Duration::from_secs(3600));
        let runtime = simulation.runtime();
        let done = simulation.block_on(async move {
            let place = Place::new(&runtime).await;
            place.send(0..10).await;
            let group = place.open().await;
            assert_eq!(ids(&*group, 10).await, numbers(0..10));
            group.close().await.unwrap();
            let last = place.checkpoint().await;

            // The processor stood four events behind.
            let behind = (last - 4).to_string();
            let entries = [("offset", "4711"), ("sequencenumber", &*behind)];
            let name = format!("{FOLDER}/checkpoint/0");
            place.store.set_metadata(&name, &entries).await;
            let name = format!("{FOLDER}/ownership/0");
            place.store.set_metadata(&name, &[("ownerid", owner)]).await;
            place.send(10..12).await;
            let began = runtime.now();
            let group = place.open().await;
            assert_eq!(ids(&*group, 6).await, numbers(6..12));
            let waited = runtime.now().since(began);
            group.close().await.unwrap();
            assert_eq!(place.checkpoint().await, last + 2);
            let blob = place.store.metadata(&name).await.unwrap();
            assert_eq!(blob["ownerid"], "", "{blob:?}");
            waited
        });
        let waited = done.unwrap();
        assert_eq!(
            owner.is_empty(),
            waited < Duration::from_secs(20),
            "{waited:?}"
        );
        assert!(waited < Duration::from_secs(180), "{waited:?}");
    }
}

struct Place {
    runtime: Runtime,
    store: Arc<Faulty>,
    stream: Arc<dyn Resource>,
}

impl Place {
    async fn new(runtime: &Runtime) -> Self {
        let url = Url::parse("memory:").unwrap();
        let memory = MemoryBackend::new();
        let stream = memory.parse("orders", &url, Options::new("s")).unwrap();
        let admin = stream.admin(runtime).await.unwrap();
        admin.create(&StreamSpec::with_partitions(1)).await.unwrap();
        Self {
            runtime: runtime.clone(),
            store: Faulty::new(),
            stream,
        }
    }

    async fn send(&self, numbers: std::ops::Range<u64>) {
        let producer = self.stream.producer(&self.runtime).await.unwrap();
        let events: Vec<Event> = numbers
            .map(|n| Event::with_id_and_type(n.to_string().into(), "t".into()).with_key("k"))
            .collect();
        for outcome in producer.send_batch(&events).await.into_outcomes() {
            outcome.unwrap();
        }
    }

    async fn open(&self) -> Arc<dyn BatchConsumer> {
        let Source::Log(log) = self.stream.source(&self.runtime).await.unwrap() else {
            panic!("memory is a log");
        };
        let leases = resource(&self.store, URL).unwrap();
        let leases = leases.leases(&self.runtime).await.unwrap();
        let options = GroupOptions::new("billing".into());
        Group::open(log, leases, options, &self.runtime)
            .await
            .unwrap()
    }

    async fn checkpoint(&self) -> u64 {
        let blob = self.store.metadata(&format!("{FOLDER}/checkpoint/0")).await;
        blob.unwrap()["sequencenumber"].parse().unwrap()
    }
}

/// Receives and acknowledges that many events.
async fn ids(group: &dyn BatchConsumer, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        for delivery in group.receive_batch(count - ids.len()).await.unwrap() {
            ids.push(delivery.event().id().to_string());
            delivery.ack().await.unwrap();
        }
    }
    ids
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

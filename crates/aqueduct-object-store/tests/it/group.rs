//! Requests of a group as it runs: at 200 events a second and at 4,000 they are the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchConsumer, Event, Options, Runtime, Source, StreamSpec, Url,
};
use aqueduct_group::{Group, GroupOptions, request_cost};
use aqueduct_memory::MemoryBackend;
use aqueduct_runtime::Simulation;

use crate::support::{Faulty, resource};

const PARTITIONS: usize = 4;
const OWN: &str = "az://shop/leases";
const PROCESSOR: &str = "az://shop/leases?event_hubs=shop.servicebus.windows.net";

#[test]
fn a_groups_requests_do_not_follow_its_events() {
    let cost = request_cost(&GroupOptions::new("billing".into()), PARTITIONS, 1);
    // Of one partition in a minute.
    let (idle, busy) = (cost.idle_writes / 240.0, cost.busy_writes / 240.0);
    for (url, rate, writes) in [
        (OWN, 0, idle),
        (OWN, 50, busy),
        (OWN, 1_000, busy),
        (PROCESSOR, 0, idle),
        (PROCESSOR, 50, busy),
        (PROCESSOR, 1_000, busy),
    ] {
        let counts = minute(url, rate);
        let put = counts["put"] as f64 / PARTITIONS as f64;
        let all = rate * PARTITIONS;
        println!("{url}: {all} events a second: {put} writes per partition and minute: {counts:?}");
        assert!(put <= writes * 1.1, "{url} at {all}/s: {put} of {writes}");
        // One listing each half ttl, and nothing is read one by one.
        assert!(counts["list"] <= 6, "{counts:?}");
        assert_eq!(counts.len(), 2, "{counts:?}");
    }
}

/// Returns the requests of a minute with that many events a second on each partition.
fn minute(url: &'static str, rate: usize) -> BTreeMap<&'static str, u64> {
    let simulation = Simulation::new(7).with_horizon(Duration::from_secs(24 * 3600));
    let work = steady(simulation.runtime(), url, rate);
    simulation.block_on(work).unwrap()
}

async fn steady(runtime: Runtime, url: &str, rate: usize) -> BTreeMap<&'static str, u64> {
    let store = Faulty::new();
    let memory = MemoryBackend::new();
    let options = Options::new("s").with("max_events", "10000000");
    let stream = memory
        .parse("orders", &Url::parse("memory:").unwrap(), options)
        .unwrap();
    let spec = StreamSpec::with_partitions(PARTITIONS as u32);
    let admin = stream.admin(&runtime).await.unwrap();
    admin.create(&spec).await.unwrap();
    let Source::Log(log) = stream.source(&runtime).await.unwrap() else {
        panic!("memory is a log");
    };
    let leases = resource(&store, url).unwrap().leases(&runtime).await;
    let options = GroupOptions::new("billing".into());
    let consumer: Arc<dyn BatchConsumer> = Group::open(log, leases.unwrap(), options, &runtime)
        .await
        .unwrap();
    let task = runtime.spawn({
        let consumer = consumer.clone();
        async move {
            loop {
                let received = consumer.receive_batch(500).await.unwrap();
                if received.is_empty() {
                    return;
                }
                for delivery in received {
                    delivery.ack().await.unwrap();
                }
            }
        }
    });
    let producer = stream.producer(&runtime).await.unwrap();
    let send = async |seconds: usize| {
        for second in 0..seconds {
            runtime.sleep(Duration::from_secs(1)).await;
            let events: Vec<Event> = (0..rate * PARTITIONS)
                .map(|at| Event::new("t").with_key(format!("{second}-{at}")))
                .collect();
            for chunk in events.chunks(500) {
                drop(producer.send_batch(chunk).await.into_outcomes());
            }
        }
    };
    // Joining is done once a lease of each partition is kept, and the first blobs are known.
    while consumer.status().partitions.len() < PARTITIONS {
        send(1).await;
    }
    send(12).await;
    store.reset_counts();
    send(60).await;
    let counts = store.counts();
    consumer.close().await.unwrap();
    task.await.unwrap();
    counts
}

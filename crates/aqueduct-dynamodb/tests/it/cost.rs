//! Measures the requests of a group, and checks that its events cost none.

use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchConsumer, Event, Options, Runtime, Source, StreamSpec, Url,
};
use aqueduct_group::{Group, GroupOptions, request_cost};
use aqueduct_memory::MemoryBackend;
use aqueduct_runtime::Simulation;
use std::sync::Arc;

use crate::common::{Server, in_process};

/// `AQUEDUCT_COST=100,5,60` measures that many partitions, members and minutes.
#[test]
fn requests_are_as_stated_and_do_not_follow_the_events() {
    if !in_process() {
        // Virtual time needs a server in this process.
        return;
    }
    let scale = std::env::var("AQUEDUCT_COST").unwrap_or_else(|_| "8,2,4".to_owned());
    let scale: Vec<usize> = scale.split(',').map(|part| part.parse().unwrap()).collect();
    let [partitions, members, minutes] = scale[..] else {
        panic!("three numbers");
    };
    let cost = request_cost(&GroupOptions::new("billing".into()), partitions, members);
    let hourly = |count: u64| count as f64 * 60.0 / minutes as f64;

    let idle = measure(partitions, members, minutes, 0);
    let busy = measure(partitions, members, minutes, 2);
    let busier = measure(partitions, members, minutes, 20);
    for (name, counts) in [("idle", &idle), ("busy", &busy), ("busier", &busier)] {
        let shown: Vec<_> = counts
            .iter()
            .map(|(operation, count)| format!("{operation} {:.0}", hourly(*count)))
            .collect();
        println!("{name}, requests an hour: {}", shown.join(", "));
    }
    println!("stated: {cost}");
    let writes = |counts: &BTreeMap<String, u64>| hourly(counts["UpdateItem"]);
    assert!(writes(&idle) <= cost.idle_writes * 1.1, "{}", writes(&idle));
    assert!(writes(&busy) <= cost.busy_writes * 1.1, "{}", writes(&busy));
    assert!(
        writes(&busier) <= cost.busy_writes * 1.1,
        "{}",
        writes(&busier)
    );
    for counts in [&idle, &busy, &busier] {
        let reads = hourly(counts["Scan"]);
        assert!(reads <= cost.listings * 1.2, "{reads}");
        let others = counts
            .iter()
            .filter(|(operation, _)| !["UpdateItem", "Scan"].contains(&operation.as_str()));
        assert_eq!(others.count(), 0, "{counts:?}");
    }
}

/// Returns the requests of a group in a steady state, with that many events a second per partition.
fn measure(
    partitions: usize,
    members: usize,
    minutes: usize,
    rate: usize,
) -> BTreeMap<String, u64> {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let _inside = tokio.enter();
    let simulation = Simulation::new(7).with_horizon(Duration::from_secs(24 * 3600));
    let runtime = simulation.runtime();
    let work = steady(runtime, partitions, members, minutes, rate);
    simulation.block_on(work).unwrap()
}

async fn steady(
    runtime: Runtime,
    partitions: usize,
    members: usize,
    minutes: usize,
    rate: usize,
) -> BTreeMap<String, u64> {
    let server = Server::start();
    let (table, faults) = (server.table(), server.faults());
    let memory = MemoryBackend::new();
    let url = Url::parse("memory:").unwrap();
    let options = Options::new("s").with("max_events", "10000000");
    let stream = memory.parse("orders", &url, options).unwrap();
    let admin = stream.admin(&runtime).await.unwrap();
    let spec = StreamSpec::with_partitions(u32::try_from(partitions).unwrap());
    admin.create(&spec).await.unwrap();
    let mut consumers: Vec<Arc<dyn BatchConsumer>> = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..members {
        let Source::Log(log) = stream.source(&runtime).await.unwrap() else {
            panic!("memory is a log");
        };
        let resource = server.resource(&table, &faults, &[]).unwrap();
        let leases = resource.leases(&runtime).await.unwrap();
        let options = GroupOptions::new("billing".into());
        let consumer = Group::open(log, leases, options, &runtime).await.unwrap();
        consumers.push(consumer.clone());
        tasks.push(runtime.spawn(async move {
            loop {
                let received = consumer.receive_batch(100).await.unwrap();
                if received.is_empty() {
                    return;
                }
                for delivery in received {
                    // Deliveries of a partition that moves are redelivered by its new owner.
                    let _ = delivery.ack().await;
                }
            }
        }));
    }
    let producer = stream.producer(&runtime).await.unwrap();
    let settled = |consumer: &Arc<dyn BatchConsumer>| consumer.status().partitions.len();
    let share = partitions.div_ceil(members);
    for _ in 0..24 * 60 {
        runtime.sleep(Duration::from_secs(10)).await;
        if consumers
            .iter()
            .all(|it| settled(it) <= share && settled(it) > 0)
        {
            break;
        }
    }
    runtime.sleep(Duration::from_secs(60)).await;
    let before = faults.all_requests();
    for _ in 0..minutes * 60 {
        runtime.sleep(Duration::from_secs(1)).await;
        let events: Vec<Event> = (0..rate * partitions)
            .map(|at| Event::new("t").with_key(format!("k{at}")))
            .collect();
        for chunk in events.chunks(500) {
            drop(producer.send_batch(chunk).await.into_outcomes());
        }
    }
    let mut counts = faults.all_requests();
    for (operation, count) in &mut counts {
        *count -= before.get(operation).copied().unwrap_or(0);
    }
    counts.retain(|_, count| *count > 0);
    for consumer in consumers {
        consumer.close().await.unwrap();
    }
    for task in tasks {
        task.await.unwrap();
    }
    counts
}

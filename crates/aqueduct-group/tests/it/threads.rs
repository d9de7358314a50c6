//! Two members on real threads.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use aqueduct_core::{Backend as _, Event, Options, Source, Url};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_memory::MemoryBackend;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_members_share_a_stream_on_many_threads() {
    let runtime = aqueduct_runtime::tokio();
    let url = Url::parse("memory:orders").unwrap();
    let options = Options::new("test").with("partitions", "8");
    let orders = MemoryBackend::new().parse("orders", &url, options).unwrap();
    let Source::Log(log) = orders.source(&runtime).await.unwrap() else {
        panic!("memory is a log")
    };
    let leases = orders.leases(&runtime).await.unwrap();
    let options = || {
        let life = Duration::from_secs(2);
        GroupOptions::new("billing".into()).with_lease_ttl(life)
    };
    let (sender, handled) = std::sync::mpsc::channel();
    let mut members = Vec::new();
    for _ in 0..2 {
        let consumer = Group::open(log.clone(), leases.clone(), options(), &runtime)
            .await
            .unwrap();
        let (receiver, sender) = (consumer.clone(), sender.clone());
        let task = runtime.spawn(async move {
            loop {
                let batch = receiver.receive_batch(50).await.unwrap();
                if batch.is_empty() {
                    return;
                }
                for delivery in batch {
                    let number: usize = delivery.event().kind().parse().unwrap();
                    if delivery.ack().await.is_ok() {
                        sender.send(number).unwrap();
                    }
                }
            }
        });
        members.push((consumer, task));
    }
    let producer = orders.producer(&runtime).await.unwrap();
    for hundred in 0..200 {
        let events: Vec<_> = (hundred * 100..hundred * 100 + 100)
            .map(|n| {
                Event::new(n.to_string())
                    .with_source("/test")
                    .with_key(format!("k{}", n % 500))
            })
            .collect();
        producer
            .send_batch(&events)
            .await
            .into_outcomes()
            .into_iter()
            .for_each(|it| drop(it.unwrap()));
        runtime.sleep(Duration::from_millis(2)).await;
    }
    let deadline = runtime.now() + Duration::from_secs(30);
    let mut seen = BTreeSet::new();
    while seen.len() < 20_000 {
        assert!(runtime.now() < deadline, "{} of 20,000", seen.len());
        seen.extend(handled.try_iter());
        runtime.sleep(Duration::from_millis(10)).await;
    }
    for (consumer, task) in members {
        consumer.close().await.unwrap();
        task.await.unwrap();
    }
}

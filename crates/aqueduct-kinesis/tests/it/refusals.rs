//! A service that refuses single records, or the signatures of another time.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aqueduct_emulators::{KinesisServer, ListenOptions};
use aqueduct_producer::{Producer, ProducerOptions};

use crate::common::Server;
use crate::producer::{events, number, read};

/// A refusal holds back its key for one back-off, and neither its shard nor the other keys of its request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_record_in_five_refused_slows_down_its_key_alone() {
    const EVENTS: usize = 1500;
    const KEYS: usize = 20;
    let server = Server::quick().await;
    let stream = server.stream(3, &[("aggregation", "off")]).await;
    server.kinesis.refuse_records(200);
    let options = ProducerOptions::default();
    let producer = Producer::new(stream.producer().await, options, &stream.runtime);
    let begun = Instant::now();
    let sent = producer.send_all(events(EVENTS, KEYS)).await;
    assert!(sent.is_ok(), "an event was given up");
    let took = begun.elapsed();
    println!("{took:?}, {} refused", server.kinesis.refused_records());
    assert!(server.kinesis.refused_records() > 200);
    // 125 s where a refusal paused its shard.
    assert!(took < Duration::from_secs(60), "{took:?}");

    let mut keys: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (_, record) in read(&stream, EVENTS).await {
        let key = record.event.key().unwrap().to_owned();
        keys.entry(key).or_default().push(number(&record.event));
    }
    assert_eq!(keys.values().map(Vec::len).sum::<usize>(), EVENTS);
    for (key, numbers) in keys {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
}

/// The clock of this machine is an hour behind the service's: opening makes its first request twice.
#[tokio::test]
async fn a_stream_is_opened_though_the_clock_is_off() {
    let listen = ListenOptions::new().with_clock_off_by(3600);
    let server = Server::listening(KinesisServer::quick(), &listen).await;
    let stream = server.at(
        &server.name(),
        &[("create", "missing"), ("partitions", "1")],
    );
    let producer = stream.producer().await;
    let outcomes = producer.send_batch(&events(10, 3)).await.into_outcomes();
    assert!(outcomes.iter().all(|it| it.is_ok()), "{outcomes:?}");
    assert_eq!(read(&stream, 10).await.len(), 10);
}

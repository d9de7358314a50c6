//! Subscriptions over TLS and HTTP/2 whose partitions do not read.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use aqueduct_aws::Aws;
use aqueduct_core::{
    Backend as _, Event, OpenPartition, Options, PartitionReader, ReadFrom, Source, Url,
};
use aqueduct_emulators::{KinesisServer, Proxy, StoreOptions, test_credentials};
use aqueduct_kinesis::KinesisBackend;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use futures::future::join_all;

use crate::common::{Server, until};

/// The subscriptions that share a connection, as the README says.
const PER_CONNECTION: u64 = 4;

/// One partition's back-pressure is not felt by another, nor by what is sent.
async fn neighbours_that_do_not_read(shards: u32, bytes_each: usize, records_an_event: usize) {
    let options = StoreOptions {
        subscribe_to_shard_event_record_limit: records_an_event,
        ..KinesisServer::quick()
    };
    let server = Server::secure(options).await;
    let stream = server.stream(shards, &[]).await;
    let raw = stream.raw();
    let listed = raw.list_shards().stream_name(&stream.name).send().await;
    let starts: Vec<String> = listed
        .unwrap()
        .shards()
        .iter()
        .map(|shard| {
            shard
                .hash_key_range()
                .unwrap()
                .starting_hash_key()
                .to_owned()
        })
        .collect();
    assert_eq!(starts.len(), shards as usize);

    // The first shard is the healthy one.
    for start in &starts[1..] {
        for _ in 0..bytes_each.div_ceil(RECORD * 8) {
            let entry = PutRecordsRequestEntry::builder()
                .partition_key("key")
                .explicit_hash_key(start)
                .data(Blob::new(vec![b'x'; RECORD]))
                .build()
                .unwrap();
            let put = raw.put_records().stream_name(&stream.name);
            let put = put.set_records(Some(vec![entry; 8])).send().await.unwrap();
            assert_eq!(put.failed_record_count, Some(0));
        }
    }

    let proxy = Proxy::start(server.kinesis.endpoint()).await.unwrap();
    let aws = Aws::new()
        .with_transport(server.transport.clone())
        .with_credentials(test_credentials());
    let options = Options::new("streams.orders")
        .with("endpoint", proxy.endpoint())
        .with("region", "us-east-1")
        .with("read", "fan_out")
        .with("consumer", "tests");
    let url = Url::parse(&format!("kinesis://{}", stream.name)).unwrap();
    let resource = KinesisBackend::with(aws)
        .parse("orders", &url, options)
        .unwrap();
    let runtime = aqueduct_runtime::tokio();
    let Source::Log(log) = resource.source(&runtime).await.unwrap() else {
        panic!("expected a log");
    };
    let partitions = log.partitions().await.unwrap();
    let open = async |at: usize| -> Box<dyn PartitionReader> {
        let id = partitions[at].id.clone();
        let mut request = OpenPartition::new("tests".into(), id, ReadFrom::Earliest);
        request.max_wait = Duration::from_millis(100);
        log.open(&request).await.unwrap()
    };
    let before = proxy.connections();
    // Opening waits for the first records.
    put_number(&raw, &stream.name, &starts[0], 0).await;
    let unread = join_all((1..partitions.len()).map(&open)).await;
    let mut healthy = open(0).await;
    let opened = proxy.connections() - before;
    assert!(
        opened >= u64::from(shards) / PER_CONNECTION,
        "{opened} connections"
    );

    // Until the others have filled what may be in flight to them, or nearly: events without records come too.
    let mut last = (0, Instant::now());
    until("the others to stand still", async || {
        let now = proxy.delivered_bytes();
        if now > last.0 + 500_000 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(1)).then_some(())
    })
    .await;

    let producer = resource.producer(&runtime).await.unwrap();
    for number in 1..4 {
        put_number(&raw, &stream.name, &starts[0], number).await;
        let text = number.to_string();
        // What the producer sent may lie in this shard too.
        until("the record in the healthy shard", async || {
            let batch = healthy.read(100).await.unwrap();
            let mut read = batch.records.iter();
            let found = read.any(|it| it.event.data().unwrap().as_ref() == text.as_bytes());
            found.then_some(())
        })
        .await;
        let event = Event::bytes("order.placed", "text/plain", "event")
            .with_source("/shop")
            .with_key("key");
        let outcomes = producer.send_batch(&[event]).await.into_outcomes();
        assert!(outcomes.iter().all(|it| it.is_ok()), "{outcomes:?}");
    }
    drop(unread);
}

/// Puts a record into the shard that begins at the hash key `start`.
async fn put_number(raw: &Client, stream: &str, start: &str, number: u32) {
    let put = raw.put_record().stream_name(stream);
    let put = put.partition_key("key").explicit_hash_key(start);
    let put = put.data(Blob::new(number.to_string()));
    put.send().await.unwrap();
}

/// The size of a record in bytes.
const RECORD: usize = 32 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_subscriptions_of_which_one_reads() {
    neighbours_that_do_not_read(8, 2 << 20, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_subscriptions_of_which_one_reads() {
    neighbours_that_do_not_read(64, 256 << 10, 1).await;
}

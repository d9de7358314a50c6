//! Tests of reading beyond the suite: shard iterators, limits, subscriptions, aggregates.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aqueduct_core::{
    Checkpoint, Error, ErrorKind, Event, OpenPartition, Partition, PartitionEnd, PartitionId,
    PartitionReader, PartitionState, PartitionedLog, Position, ReadFrom, Record, Start,
};
use aqueduct_emulators::{HttpFault, KinesisServer, StoreOptions};
use aqueduct_kinesis::aggregation::{Aggregate, OUTER_KEY};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use bytes::Bytes;

use crate::common::{Server, Stream, until};

const FAN_OUT: [(&str, &str); 2] = [("read", "fan_out"), ("consumer", "tests")];

/// Puts a record with the AWS client alone, without the producer; returns its sequence number.
async fn put(raw: &Client, stream: &str, key: &str, data: impl Into<Vec<u8>>) -> String {
    let put = raw.put_record().stream_name(stream).partition_key(key);
    let answer = put.data(Blob::new(data.into())).send().await.unwrap();
    answer.sequence_number
}

/// Puts `numbers` one after the other, under different keys.
async fn put_numbers(raw: &Client, stream: &str, numbers: std::ops::Range<u32>) {
    for chunk in numbers.collect::<Vec<_>>().chunks(500) {
        let entry = |number: &u32| {
            PutRecordsRequestEntry::builder()
                .partition_key(format!("k{}", number % 7))
                .data(Blob::new(number.to_string()))
                .build()
                .unwrap()
        };
        let entries = chunk.iter().map(entry).collect();
        let put = raw.put_records().stream_name(stream);
        let answer = put.set_records(Some(entries)).send().await.unwrap();
        assert_eq!(answer.failed_record_count.unwrap_or(0), 0);
    }
}

fn request(partition: &PartitionId, from: ReadFrom) -> OpenPartition {
    let mut request = OpenPartition::new("tests".into(), partition.clone(), from);
    request.max_wait = Duration::from_millis(100);
    request
}

async fn open(log: &dyn PartitionedLog, from: ReadFrom) -> Box<dyn PartitionReader> {
    let partitions = log.partitions().await.unwrap();
    log.open(&request(&partitions[0].id, from)).await.unwrap()
}

/// Returns the error of opening at `from`, or of the first reads.
async fn refusal(log: &dyn PartitionedLog, shard: &PartitionId, from: ReadFrom) -> Error {
    match log.open(&request(shard, from)).await {
        Err(error) => error,
        Ok(mut reader) => until("the refusal", async || reader.read(10).await.err()).await,
    }
}

/// Reads until there are `count` records.
async fn read(reader: &mut dyn PartitionReader, count: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    until(&format!("{count} records"), async || {
        let batch = reader.read(count - records.len()).await.unwrap();
        records.extend(batch.records);
        (records.len() >= count).then_some(())
    })
    .await;
    records
}

/// Reads until the shard ends.
async fn read_to_end(reader: &mut dyn PartitionReader) -> (Vec<Record>, PartitionEnd) {
    let mut records = Vec::new();
    let end = until("the end of the shard", async || {
        let batch = reader.read(1000).await.unwrap();
        records.extend(batch.records);
        batch.end
    })
    .await;
    (records, end)
}

fn text(record: &Record) -> &str {
    std::str::from_utf8(record.event.data().unwrap()).unwrap()
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(text).collect()
}

fn numbers(records: &[Record]) -> Vec<u32> {
    let mut numbers: Vec<u32> = records.iter().map(|it| text(it).parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn foreign_records_are_delivered_as_such_and_keep_their_key() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    put(&stream.raw(), &stream.name, "customer", "not a CloudEvent").await;
    let log = stream.log().await;
    let record = read(&mut *open(&*log, ReadFrom::Earliest).await, 1)
        .await
        .remove(0);
    assert!(record.event.is_foreign());
    assert_eq!(text(&record), "not a CloudEvent");
    assert_eq!(record.event.key(), Some("customer"));
    assert_eq!(record.position.sub(), 0);
    let id = record.event.id().to_string();
    assert!(id.contains(&record.position.to_string()), "{id}");
    let since = record
        .stored_at
        .unwrap()
        .since(aqueduct_core::Timestamp::EPOCH);
    assert!(since > Duration::from_secs(1_700_000_000), "{since:?}");
}

#[tokio::test]
async fn expired_iterators_are_renewed_behind_the_last_record() {
    let options = StoreOptions {
        iterator_ttl_seconds: 1,
        ..KinesisServer::quick()
    };
    let server = Server::start(options).await;
    let stream = server.stream(1, &[]).await;
    let raw = stream.raw();
    put_numbers(&raw, &stream.name, 0..3).await;
    let log = stream.log().await;
    let mut reader = open(&*log, ReadFrom::Earliest).await;
    assert_eq!(numbers(&read(&mut *reader, 3).await), [0, 1, 2]);
    // The next response waits while its shard iterator expires.
    let begun = Instant::now();
    until("the iterator to expire", async || {
        (begun.elapsed() > Duration::from_millis(2200)).then_some(())
    })
    .await;
    put_numbers(&raw, &stream.name, 3..6).await;
    assert_eq!(numbers(&read(&mut *reader, 3).await), [3, 4, 5]);
    assert!(stream.faults.requests("GetShardIterator") >= 2);
    let quiet = reader.read(10).await.unwrap();
    assert!(quiet.records.is_empty(), "{quiet:?}");
}

#[tokio::test]
async fn iterators_that_expire_in_a_row_are_never_a_gap() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    put_numbers(&stream.raw(), &stream.name, 0..20).await;
    let log = stream.log().await;
    let mut reader = open(&*log, ReadFrom::Earliest).await;
    assert_eq!(numbers(&read(&mut *reader, 10).await).len(), 10);
    for _ in 0..5 {
        let expired = HttpFault::Error(400, "ExpiredIteratorException", "Iterator expired");
        stream.faults.inject("GetRecords", expired);
    }
    let mut seen = numbers(&read(&mut *reader, 10).await);
    put_numbers(&stream.raw(), &stream.name, 20..30).await;
    let failures = std::cell::Cell::new(0);
    until("the records behind the expired iterators", async || {
        match reader.read(10).await {
            Ok(batch) => seen.extend(numbers(&batch.records)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.is_retryable());
                failures.set(failures.get() + 1);
            }
        }
        (seen.len() >= 20).then_some(())
    })
    .await;
    assert_eq!(seen, (10..30).collect::<Vec<_>>());
    assert!(failures.get() >= 1, "two in a row are told");
}

#[tokio::test]
async fn throttled_reads_back_off_and_lose_nothing() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    put_numbers(&stream.raw(), &stream.name, 0..20).await;
    for _ in 0..2 {
        let refused = HttpFault::Error(400, "ProvisionedThroughputExceededException", "Slow down");
        stream.faults.inject("GetRecords", refused.clone());
        stream.faults.inject("GetShardIterator", refused);
    }
    let log = stream.log().await;
    let begun = Instant::now();
    let mut reader = open(&*log, ReadFrom::Earliest).await;
    let records = read(&mut *reader, 20).await;
    assert_eq!(numbers(&records), (0..20).collect::<Vec<_>>());
    // After four throttled requests, the rate is far below five requests per second.
    assert!(
        begun.elapsed() > Duration::from_millis(1200),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn polls_keep_to_their_interval() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[("poll_interval", "200ms")]).await;
    put_numbers(&stream.raw(), &stream.name, 0..100).await;
    let log = stream.log().await;
    let mut reader = open(&*log, ReadFrom::Earliest).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        reader.read(10).await.unwrap();
    }
    let polls = stream.faults.requests("GetRecords");
    assert!(
        (2..=11).contains(&polls),
        "{polls} polls in {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_position_that_is_gone_is_told_before_anything_behind_it() {
    for options in [&[][..], &FAN_OUT[..]] {
        let server = Server::quick().await;
        let stream = server.stream(1, options).await;
        let raw = stream.raw();
        let gone: Position = put(&raw, &stream.name, "k", "gone").await.parse().unwrap();
        server.kinesis.expire(&stream.name).await;
        put(&raw, &stream.name, "k", "left").await;
        let log = stream.log().await;
        let shard = log.partitions().await.unwrap().remove(0).id;
        for from in [ReadFrom::After(gone), ReadFrom::At(gone)] {
            let error = refusal(&*log, &shard, from).await;
            assert_eq!(error.kind(), ErrorKind::PositionExpired);
            let both = [gone.to_string(), "the oldest left is".to_owned()];
            assert!(
                both.iter().all(|it| error.to_string().contains(it)),
                "{error}"
            );
        }
        let left = read(&mut *open(&*log, ReadFrom::Earliest).await, 1).await;
        assert_eq!(texts(&left), ["left"]);
    }
}

#[tokio::test]
async fn a_shard_that_was_quiet_since_its_last_record_has_no_gap() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    let raw = stream.raw();
    put(&raw, &stream.name, "k", "first").await;
    let log = stream.log().await;
    let mut reader = open(&*log, ReadFrom::Earliest).await;
    let first = read(&mut *reader, 1).await.remove(0);
    // A read may also end before the service has said that nothing follows: more responses than the
    // reader can have in its buffer do.
    let before = stream.faults.requests("GetRecords");
    until("empty responses", async || {
        assert!(reader.read(1).await.unwrap().records.is_empty());
        (stream.faults.requests("GetRecords") >= before + 8).then_some(())
    })
    .await;
    drop(reader);
    server.kinesis.expire(&stream.name).await;
    put(&raw, &stream.name, "k", "second").await;
    let mut again = open(&*log, ReadFrom::After(first.position)).await;
    assert_eq!(texts(&read(&mut *again, 1).await), ["second"]);
}

#[tokio::test]
async fn a_position_of_another_stream_is_refused() {
    let server = Server::quick().await;
    let (one, other) = (server.stream(2, &[]).await, server.stream(2, &[]).await);
    put_numbers(&one.raw(), &one.name, 0..10).await;
    let log = one.log().await;
    let partitions = log.partitions().await.unwrap();
    let mut elsewhere = None;
    for partition in &partitions {
        let mut reader = log
            .open(&request(&partition.id, ReadFrom::Earliest))
            .await
            .unwrap();
        if let Some(record) = reader.read(1).await.unwrap().records.pop() {
            elsewhere = Some((partition.id.clone(), record.position));
        }
    }
    let (at, position) = elsewhere.unwrap();
    // The same shard of this stream, and another one.
    let wrong = partitions.iter().find(|it| it.id != at).unwrap();
    for (stream, shard) in [(&one, &wrong.id), (&other, &wrong.id)] {
        let error = refusal(&*stream.log().await, shard, ReadFrom::After(position)).await;
        assert_eq!(error.kind(), ErrorKind::PositionExpired, "{error}");
    }
}

fn by_id(partitions: &[Partition]) -> BTreeMap<PartitionId, &Partition> {
    partitions.iter().map(|it| (it.id.clone(), it)).collect()
}

/// Splits one shard, merges its halves, and reads all generations by their parents' ends.
async fn reads_through_split_and_merge(options: &[(&'static str, &str)]) {
    let server = Server::quick().await;
    let stream = server.stream(1, options).await;
    let (raw, admin) = (stream.raw(), stream.admin().await);
    put_numbers(&raw, &stream.name, 0..50).await;
    admin.reshard(2).await.unwrap();
    put_numbers(&raw, &stream.name, 50..100).await;
    admin.reshard(1).await.unwrap();
    put_numbers(&raw, &stream.name, 100..150).await;

    let log = stream.log().await;
    let partitions = log.partitions().await.unwrap();
    let known = by_id(&partitions);
    assert_eq!(partitions.len(), 4);
    let roots = partitions.iter().filter(|it| it.parents.is_empty());
    let root = roots.map(|it| it.id.clone()).collect::<Vec<_>>();
    assert_eq!(root.len(), 1);

    let mut reader = log
        .open(&request(&root[0], ReadFrom::Earliest))
        .await
        .unwrap();
    let (first, end) = read_to_end(&mut *reader).await;
    assert_eq!(numbers(&first), (0..50).collect::<Vec<_>>());
    assert_eq!(end.children.len(), 2);
    let mut second = Vec::new();
    let mut grandchildren = Vec::new();
    for child in &end.children {
        assert_eq!(known[child].parents, root);
        assert_eq!(known[child].state, PartitionState::Closed);
        let mut reader = log.open(&request(child, ReadFrom::Earliest)).await.unwrap();
        let (records, end) = read_to_end(&mut *reader).await;
        // Reading on from the last position of a closed shard ends at once.
        let last = records.last().unwrap().position;
        let mut again = log
            .open(&request(child, ReadFrom::After(last)))
            .await
            .unwrap();
        assert_eq!(read_to_end(&mut *again).await.0.len(), 0);
        second.extend(records);
        grandchildren.push(end.children);
    }
    assert_eq!(numbers(&second), (50..100).collect::<Vec<_>>());
    assert_eq!(grandchildren[0], grandchildren[1]);
    let merged = &grandchildren[0][0];
    assert_eq!(known[merged].parents.len(), 2);
    assert_eq!(known[merged].state, PartitionState::Open);
    assert_eq!(known[merged].range, known[&root[0]].range);
    let mut reader = log
        .open(&request(merged, ReadFrom::Earliest))
        .await
        .unwrap();
    assert_eq!(
        numbers(&read(&mut *reader, 50).await),
        (100..150).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn polling_reads_through_split_and_merge() {
    reads_through_split_and_merge(&[]).await;
}

#[tokio::test]
async fn fan_out_reads_through_split_and_merge() {
    // Each reader subscribes to a different shard, so none waits five seconds for another.
    reads_through_split_and_merge(&[("read", "fan_out")]).await;
}

#[tokio::test]
async fn subscriptions_are_renewed_without_loss_and_not_too_soon() {
    let options = StoreOptions {
        subscribe_to_shard_session_ms: 700,
        ..KinesisServer::quick()
    };
    let server = Server::start(options).await;
    let stream = server.stream(1, &FAN_OUT).await;
    let raw = stream.raw();
    let log = stream.log().await;
    // Before the first subscription: the wait between two of them is counted from its request.
    let begun = Instant::now();
    let mut reader = open(&*log, ReadFrom::Earliest).await;
    let mut seen = Vec::new();
    let mut sent = 0;
    while stream.faults.requests("SubscribeToShard") < 2 || seen.len() < sent as usize {
        if sent < 60 {
            put_numbers(&raw, &stream.name, sent..sent + 1).await;
            sent += 1;
        }
        seen.extend(reader.read(10).await.unwrap().records);
        assert!(begun.elapsed() < Duration::from_secs(60), "not renewed");
    }
    assert_eq!(numbers(&seen), (0..sent).collect::<Vec<_>>());
    assert!(
        begun.elapsed() > Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_refused_subscription_falls_back_to_polling_if_it_may() {
    let server = Server::quick().await;
    let may = [FAN_OUT[0], FAN_OUT[1], ("fan_out_fallback", "true")];
    let stream = server.stream(1, &may).await;
    put_numbers(&stream.raw(), &stream.name, 0..5).await;
    for (operation, code) in [
        ("DescribeStreamConsumer", "AccessDeniedException"),
        ("SubscribeToShard", "AccessDeniedException"),
        ("DescribeStreamConsumer", "UnknownOperationException"),
    ] {
        let log = stream.log().await;
        let refused = HttpFault::Error(400, code, "not for you");
        stream.faults.inject(operation, refused.clone());
        let polls = stream.faults.requests("GetRecords");
        let mut reader = open(&*log, ReadFrom::Earliest).await;
        assert_eq!(numbers(&read(&mut *reader, 5).await), [0, 1, 2, 3, 4]);
        assert!(stream.faults.requests("GetRecords") > polls, "{operation}");

        let strict = stream.with(&FAN_OUT).log().await;
        stream.faults.inject(operation, refused);
        let shard = strict.partitions().await.unwrap().remove(0).id;
        let error = refusal(&*strict, &shard, ReadFrom::Earliest).await;
        assert!(!error.is_retryable(), "{error}");
        assert!(error.to_string().contains(code), "{error}");
    }
}

#[tokio::test]
async fn a_full_stream_of_consumers_falls_back_or_says_so() {
    let server = Server::quick().await;
    let stream = server
        .stream(1, &[("read", "fan_out"), ("consumer", "one-more")])
        .await;
    put_numbers(&stream.raw(), &stream.name, 0..5).await;
    let raw = stream.raw();
    let described = raw.describe_stream_summary().stream_name(&stream.name);
    let described = described.send().await.unwrap();
    let arn = described.stream_description_summary.unwrap().stream_arn;
    for n in 0..20 {
        let register = raw.register_stream_consumer().stream_arn(&arn);
        register
            .consumer_name(format!("c{n}"))
            .send()
            .await
            .unwrap();
    }
    let log = stream.log().await;
    let shard = log.partitions().await.unwrap().remove(0).id;
    let error = refusal(&*log, &shard, ReadFrom::Earliest).await;
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    let may = [
        ("read", "fan_out"),
        ("consumer", "one-more"),
        ("fan_out_fallback", "true"),
    ];
    let mut reader = open(&*stream.with(&may).log().await, ReadFrom::Earliest).await;
    assert_eq!(read(&mut *reader, 5).await.len(), 5);
}

#[tokio::test]
async fn a_group_that_is_no_consumer_name_asks_for_one() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[("read", "fan_out")]).await;
    let log = stream.log().await;
    let shard = log.partitions().await.unwrap().remove(0).id;
    let request = OpenPartition::new("a group".into(), shard, ReadFrom::Earliest);
    let error = log.open(&request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`consumer`"), "{error}");
}

/// Returns an aggregated record of `(key, text)` pairs.
fn aggregate(inner: &[(&str, &str)]) -> Bytes {
    let mut aggregate = Aggregate::new();
    for (key, data) in inner {
        aggregate.push(key, None, data.as_bytes());
    }
    aggregate.finish()
}

#[tokio::test]
async fn a_start_within_an_aggregate_goes_on_within_it() {
    for options in [&[][..], &FAN_OUT[..]] {
        let server = Server::quick().await;
        let stream = server.stream(1, options).await;
        let raw = stream.raw();
        let data = aggregate(&[("a", "0"), ("b", "1"), ("a", "2"), ("c", "3")]);
        put(&raw, &stream.name, OUTER_KEY, data).await;
        put(&raw, &stream.name, "d", "4").await;
        let log = stream.log().await;
        let all = read(&mut *open(&*log, ReadFrom::Earliest).await, 5).await;
        assert_eq!(texts(&all), ["0", "1", "2", "3", "4"]);
        let subs: Vec<u64> = all.iter().map(|it| it.position.sub()).collect();
        assert_eq!(subs, [0, 1, 2, 3, 0]);
        let keys: Vec<_> = all.iter().map(|it| it.event.key().unwrap()).collect();
        assert_eq!(keys, ["a", "b", "a", "c", "d"]);
        let ids: std::collections::BTreeSet<_> =
            all.iter().map(|it| it.event.id().to_string()).collect();
        assert_eq!(ids.len(), 5);
        if !options.is_empty() {
            // The five seconds between subscriptions are tested elsewhere.
            let mut reader = open(&*log, ReadFrom::After(all[1].position)).await;
            assert_eq!(texts(&read(&mut *reader, 3).await), ["2", "3", "4"]);
            continue;
        }
        for (at, record) in all.iter().enumerate() {
            for (from, first) in [
                (ReadFrom::At(record.position), at),
                (ReadFrom::After(record.position), at + 1),
            ] {
                let rest = 5 - first;
                let mut reader = open(&*log, from).await;
                // One event per read: the reader's maximum may split an aggregate.
                let mut seen = Vec::new();
                for _ in 0..rest {
                    seen.extend(read(&mut *reader, 1).await);
                }
                assert_eq!(texts(&seen), ["0", "1", "2", "3", "4"][first..], "{from:?}");
                assert!(reader.read(10).await.unwrap().records.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn inner_records_of_another_shard_are_dropped() {
    let server = Server::quick().await;
    let stream = server.stream(2, &[]).await;
    let raw = stream.raw();
    let inner: Vec<(String, String)> = (0..20).map(|n| (format!("k{n}"), n.to_string())).collect();
    let inner: Vec<(&str, &str)> = inner.iter().map(|(key, data)| (&**key, &**data)).collect();
    let data = aggregate(&inner);
    // The same aggregate on both shards: each delivers its own half.
    let log = stream.log().await;
    let partitions = log.partitions().await.unwrap();
    for partition in &partitions {
        raw.put_record()
            .stream_name(&stream.name)
            .partition_key(OUTER_KEY)
            .explicit_hash_key(partition.range.unwrap().first.to_string())
            .data(Blob::new(data.clone()))
            .send()
            .await
            .unwrap();
    }
    let mut all = Vec::new();
    for partition in &partitions {
        let opened = request(&partition.id, ReadFrom::Earliest);
        let mut reader = log.open(&opened).await.unwrap();
        let half = until("a half", async || {
            let records = reader.read(100).await.unwrap().records;
            (!records.is_empty()).then_some(records)
        })
        .await;
        assert!(half.len() < 20);
        // The sub-sequence is the index in the aggregate, even after skipped records.
        for record in &half {
            assert_eq!(text(record), record.position.sub().to_string());
        }
        all.extend(half);
    }
    assert_eq!(numbers(&all), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn damaged_aggregates_are_delivered_as_they_are_and_say_so() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    let raw = stream.raw();
    let whole = aggregate(&[("a", "0"), ("b", "1")]);
    let mut wrong = whole.to_vec();
    wrong[6] ^= 1;
    let cut = whole.slice(..whole.len() - 3);
    put(&raw, &stream.name, "x", wrong.clone()).await;
    put(&raw, &stream.name, "x", cut.clone()).await;
    put(&raw, &stream.name, "x", "fine").await;
    let log = stream.with(&[("broken_aggregates", "raw")]).log().await;
    let records = read(&mut *open(&*log, ReadFrom::Earliest).await, 3).await;
    for (record, data) in records.iter().zip([&wrong[..], &cut[..]]) {
        assert_eq!(record.event.data().unwrap(), data);
        assert_eq!(record.event.key(), Some("x"));
        assert!(record.event.is_foreign());
        let why = record.event.attributes().get("aqueductbroken");
        assert!(why.is_some(), "{:?}", record.event);
    }
    assert_eq!(texts(&records[2..]), ["fine"]);
    let rejecting = stream.log().await;
    let rejected = read(&mut *open(&*rejecting, ReadFrom::Earliest).await, 3).await;
    for (rejected, as_it_is) in rejected.iter().zip(&records) {
        assert_eq!(rejected.event.data(), as_it_is.event.data());
        assert_eq!(rejected.event.id(), as_it_is.event.id());
        assert_eq!(rejected.event.key(), Some("x"));
    }
    let kinds: Vec<&str> = rejected.iter().map(|it| it.event.kind()).collect();
    let (damaged, foreign) = (Event::DAMAGED, Event::FOREIGN);
    assert_eq!(kinds, [&*damaged, &*damaged, &*foreign]);
    assert!(
        records[2]
            .event
            .attributes()
            .get("aqueductbroken")
            .is_none()
    );
}

#[tokio::test]
async fn the_latest_place_does_not_move_and_lies_behind_everything() {
    let server = Server::quick().await;
    let stream = server.stream(3, &[]).await;
    let raw = stream.raw();
    let data = aggregate(&[("a", "0"), ("a", "1")]);
    put(&raw, &stream.name, "a", data).await;
    let log = stream.log().await;
    let latest = log.resolve(&Start::Latest).await.unwrap();
    assert_eq!(latest.partitions.len(), 3);
    let behind: Vec<&ReadFrom> = latest
        .partitions
        .iter()
        .filter_map(|(_, place)| match place {
            Checkpoint::Start(from @ ReadFrom::After(_)) => Some(from),
            _ => None,
        })
        .collect();
    // After the last record within its aggregate; a time for the shards without records.
    assert!(
        matches!(behind[..], [ReadFrom::After(position)] if position.sub() == 1),
        "{latest:?}"
    );
    put_numbers(&raw, &stream.name, 0..30).await;
    let mut later = Vec::new();
    for (shard, place) in &latest.partitions {
        let from = place.read_from().unwrap();
        let mut reader = log.open(&request(shard, from)).await.unwrap();
        let mut idle = 0;
        while idle < 2 {
            let records = reader.read(100).await.unwrap().records;
            idle = if records.is_empty() { idle + 1 } else { 0 };
            later.extend(records);
        }
    }
    assert_eq!(numbers(&later), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_start_in_the_future_waits_for_it() {
    let server = Server::quick().await;
    for options in [&[][..], &FAN_OUT[..]] {
        let stream = server.stream(1, options).await;
        let raw = stream.raw();
        let log = stream.log().await;
        put(&raw, &stream.name, "k", "early").await;
        let now = log.resolve(&Start::Earliest).await.unwrap().at;
        let soon = now.saturating_add(Duration::from_secs(3));
        let mut reader = open(&*log, ReadFrom::Time(soon)).await;
        assert!(reader.read(10).await.unwrap().records.is_empty());
        put(&raw, &stream.name, "k", "early, too").await;
        until("the time to come", async || {
            let now = stream.runtime.wall();
            (now.since(soon) > Duration::from_millis(1100)).then_some(())
        })
        .await;
        put(&raw, &stream.name, "k", "in time").await;
        assert_eq!(texts(&read(&mut *reader, 1).await), ["in time"]);
    }
}

#[tokio::test]
async fn an_endpoint_that_answers_html_and_a_missing_stream_say_so() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    let log = stream.log().await;
    for _ in 0..20 {
        let html = HttpFault::Answer("<html><body>welcome</body></html>");
        stream.faults.inject("GetShardIterator", html);
    }
    let shard = log.partitions().await.unwrap().remove(0).id;
    let error = refusal(&*log, &shard, ReadFrom::Earliest).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("endpoint"), "{error}");

    let missing = server.at("missing", &[]).try_log().await.err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[tokio::test]
async fn a_stream_that_is_deleted_under_its_reader_is_not_found() {
    for options in [&[][..], &FAN_OUT[..]] {
        let server = Server::quick().await;
        let stream: Stream = server.stream(1, options).await;
        put_numbers(&stream.raw(), &stream.name, 0..1).await;
        let log = stream.log().await;
        let mut reader = open(&*log, ReadFrom::Earliest).await;
        read(&mut *reader, 1).await;
        stream.admin().await.delete().await.unwrap();
        let error = until("the error", async || reader.read(1).await.err()).await;
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

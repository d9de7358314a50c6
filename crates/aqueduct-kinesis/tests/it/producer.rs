//! Tests of the producer beyond the suite: requests, records, resharding, errors of the service.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_core::{
    BatchProducer, Effect, Error, ErrorKind, Event, GroupName, OpenPartition, PartitionState,
    ReadFrom, Receipt, Record, Result, Retry, StreamSpec,
};
use aqueduct_emulators::{HttpFault, KinesisServer, StoreOptions};

use crate::common::{Server, Stream, until};

const SINGLE: (&str, &str) = ("aggregation", "off");

fn event(key: usize, number: usize) -> Event {
    Event::bytes("order.placed", "text/plain", format!("{number}"))
        .with_source("/shop")
        .with_key(format!("customer-{key}"))
}

pub(crate) fn events(count: usize, keys: usize) -> Vec<Event> {
    (0..count).map(|n| event(n % keys, n)).collect()
}

async fn send(producer: &dyn BatchProducer, events: &[Event]) -> Vec<Result<Receipt>> {
    let outcomes = producer.send_batch(events).await.into_outcomes();
    assert_eq!(outcomes.len(), events.len());
    outcomes
}

fn all_stored(outcomes: &[Result<Receipt>]) {
    let failed = outcomes.iter().filter_map(|it| it.as_ref().err()).next();
    assert!(failed.is_none(), "{failed:?}");
}

/// Reads everything stored, partition by partition: `count` events, and any that follow at once.
pub(crate) async fn read(stream: &Stream, count: usize) -> Vec<(String, Record)> {
    let log = stream.log().await;
    let mut readers = Vec::new();
    for partition in log.partitions().await.unwrap() {
        let group = GroupName::new("tests");
        let mut request = OpenPartition::new(group, partition.id.clone(), ReadFrom::Earliest);
        request.max_wait = Duration::from_millis(20);
        readers.push((partition.id.to_string(), log.open(&request).await.unwrap()));
    }
    let mut read = Vec::new();
    let mut last = false;
    until("all that was stored", async || {
        let before = read.len();
        for (partition, reader) in &mut readers {
            let batch = reader.read(1000).await.unwrap();
            let records = batch.records.into_iter();
            read.extend(records.map(|record| (partition.clone(), record)));
        }
        let done = last && before == read.len();
        last = read.len() >= count;
        done.then_some(())
    })
    .await;
    read.sort_by(|(one, first), (other, second)| {
        (one, first.position).cmp(&(other, second.position))
    });
    read
}

pub(crate) fn number(event: &Event) -> usize {
    std::str::from_utf8(event.data().unwrap())
        .unwrap()
        .parse()
        .unwrap()
}

/// Checks that each event is stored once, in the order of its key, at the position of its receipt.
fn check_whole(sent: &[Event], outcomes: &[Result<Receipt>], read: &[(String, Record)]) {
    let mut places = BTreeMap::new();
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for (partition, record) in read {
        let id = record.event.id().to_string();
        let place = (partition.clone(), record.position);
        assert!(places.insert(id, place).is_none(), "an event came twice");
        if let Some(key) = record.event.key() {
            let number = number(&record.event);
            let before = last.insert(key.to_owned(), number);
            assert!(
                before.is_none_or(|before| before < number),
                "{key} is out of order"
            );
        }
    }
    assert_eq!(places.len(), sent.len());
    for (event, outcome) in sent.iter().zip(outcomes) {
        let receipt = outcome.as_ref().unwrap();
        let (partition, position) = &places[&event.id().to_string()];
        assert_eq!(receipt.partition.as_ref().unwrap().as_str(), partition);
        assert_eq!(receipt.position.unwrap(), *position);
    }
}

#[tokio::test]
async fn an_aggregated_batch_is_one_request_with_a_record_for_each_shard() {
    let server = Server::quick().await;
    let stream = server.stream(4, &[]).await;
    let producer = stream.producer().await;
    let sent = events(2000, 100);
    let outcomes = send(&*producer, &sent).await;
    all_stored(&outcomes);
    assert_eq!(stream.faults.requests("PutRecords"), 1);
    let sequences: BTreeSet<_> = outcomes
        .iter()
        .map(|it| it.as_ref().unwrap().position.unwrap().with_sub(0))
        .collect();
    assert_eq!(sequences.len(), 4);
    check_whole(&sent, &outcomes, &read(&stream, sent.len()).await);
}

#[tokio::test]
async fn records_of_one_key_go_one_request_after_the_other() {
    let server = Server::quick().await;
    let stream = server.stream(2, &[SINGLE]).await;
    let producer = stream.producer().await;
    let sent = events(1200, 300);
    let outcomes = send(&*producer, &sent).await;
    all_stored(&outcomes);
    assert_eq!(stream.faults.requests("PutRecords"), 4);
    check_whole(&sent, &outcomes, &read(&stream, sent.len()).await);

    let distinct = events(1200, 1200);
    all_stored(&send(&*producer, &distinct).await);
    // More than a shard is known to accept in a second: some requests are probes.
    let requests = stream.faults.requests("PutRecords") - 4;
    assert!((3..=8).contains(&requests), "{requests} requests");
}

#[tokio::test]
async fn requests_keep_to_their_bytes_and_records_to_theirs() {
    let server = Server::quick().await;
    let options = [
        SINGLE,
        ("request_bytes", "64KiB"),
        ("max_record_bytes", "20KiB"),
    ];
    let stream = server.stream(1, &options).await;
    let producer = stream.producer().await;
    let limit = producer.capabilities().limits.event_bytes.unwrap();
    assert_eq!(limit, (20 << 10) - 256);
    let sized = |n: usize, size| event(n, n).with_data(vec![b'1'; size]);
    let mut sent: Vec<_> = (0..20).map(|n| sized(n, 10 << 10)).collect();
    sent.insert(3, sized(100, 21 << 10));
    let outcomes = send(&*producer, &sent).await;
    for (at, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(_) => assert_ne!(at, 3),
            Err(error) => assert_eq!((at, error.kind()), (3, ErrorKind::TooLarge)),
        }
    }
    // 20 records of a little more than 10 KiB, 6 to a request.
    assert_eq!(stream.faults.requests("PutRecords"), 4);
}

#[tokio::test]
async fn events_without_a_key_and_with_a_hash_key_of_their_own_go_where_they_should() {
    let server = Server::quick().await;
    for options in [&[][..], &[SINGLE]] {
        let stream = server.stream(2, options).await;
        let producer = stream.producer().await;
        let keyless =
            |n: usize| Event::bytes("t", "text/plain", n.to_string()).with_source("/shop");
        let mut sent: Vec<_> = (0..10).map(keyless).collect();
        let top = u128::MAX.to_string();
        for n in 10..20 {
            let placed = event(n, n).with_attribute("kinesishashkey", top.as_str());
            sent.push(placed.unwrap());
        }
        let outcomes = send(&*producer, &sent).await;
        all_stored(&outcomes);
        for outcome in &outcomes[10..] {
            let partition = outcome.as_ref().unwrap().partition.clone().unwrap();
            assert_eq!(partition.as_str(), "shardId-000000000001");
        }
        let read = read(&stream, 20).await;
        check_whole(&sent, &outcomes, &read);
        let keys = read
            .iter()
            .filter(|(_, record)| record.event.key().is_some());
        assert_eq!(keys.count(), 10);
        let bad = event(1, 1).with_attribute("kinesishashkey", "top").unwrap();
        let outcomes = send(&*producer, &[bad, event(1, 2), event(2, 3)]).await;
        let kinds = outcomes.iter().map(|it| it.as_ref().err().map(Error::kind));
        let expected = [Some(ErrorKind::Invalid), Some(ErrorKind::Blocked), None];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn what_comes_to_the_wrong_shard_after_a_split_is_not_stored_and_nothing_is_lost() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    let producer = stream.producer().await;
    all_stored(&send(&*producer, &events(100, 50)).await);
    // The producer's map still has the one shard.
    let half = (u128::MAX / 2 + 1).to_string();
    let raw = stream.raw();
    raw.split_shard()
        .stream_name(&stream.name)
        .shard_to_split("shardId-000000000000")
        .new_starting_hash_key(half)
        .send()
        .await
        .unwrap();
    let log = stream.log().await;
    until("two open shards", async || {
        let partitions = log.partitions().await.unwrap();
        let open = partitions
            .iter()
            .filter(|it| it.state == PartitionState::Open);
        (open.count() == 2).then_some(())
    })
    .await;

    let mut sent = events(100, 50);
    for n in 100..300 {
        sent.push(event(n % 50, n));
    }
    let mut waiting: Vec<_> = sent[100..].to_vec();
    let outcomes = send(&*producer, &waiting).await;
    let wrong: Vec<_> = outcomes.iter().filter_map(|it| it.as_ref().err()).collect();
    assert!(
        !wrong.is_empty() && wrong.len() < waiting.len(),
        "{} of 200",
        wrong.len()
    );
    for error in &wrong {
        assert_eq!(error.effect(), Effect::None);
        assert!(
            matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Blocked),
            "{error}"
        );
    }
    assert!(wrong.iter().any(|error| error.retry() == Retry::Now));
    let mut left = outcomes.iter();
    waiting.retain(|_| left.next().unwrap().is_err());
    // The response made the producer read the shard map again.
    all_stored(&send(&*producer, &waiting).await);

    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let read = read(&stream, 300).await;
    assert_eq!(read.len(), 300, "each once");
    let behind_the_split = read
        .iter()
        .filter(|(_, record)| number(&record.event) >= 100);
    for (_, record) in behind_the_split {
        let key = record.event.key().unwrap().to_owned();
        let before = last.insert(key, number(&record.event));
        assert!(before.is_none_or(|before| before < number(&record.event)));
    }
    assert_eq!(last.len(), 50);
}

#[tokio::test]
async fn a_shard_that_nobody_can_name_leaves_the_fate_of_others_open() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    let producer = stream.producer().await;
    stream.faults.inject(
        "PutRecords",
        HttpFault::Answer(
            r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"17","ShardId":"shardId-000000000099"}]}"#,
        ),
    );
    for outcome in send(&*producer, &events(2, 2)).await {
        let error = outcome.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Unavailable, Effect::Unknown)
        );
    }
}

#[tokio::test]
async fn each_record_has_an_answer_of_its_own() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[SINGLE, ("rate_limit", "off")]).await;
    let producer = stream.producer().await;
    stream.faults.inject(
        "PutRecords",
        HttpFault::Answer(
            r#"{"FailedRecordCount":4,"Records":[
            {"SequenceNumber":"17","ShardId":"shardId-000000000000"},
            {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded"},
            {"ErrorCode":"InternalFailure","ErrorMessage":"Internal Service Failure"},
            {"ErrorCode":"KMSDisabledException","ErrorMessage":"the key is off"},
            {"ErrorCode":"KMSThrottlingException","ErrorMessage":"slow down"},
            {"ShardId":"shardId-000000000000"}]}"#,
        ),
    );
    let mut sent = events(6, 6);
    // Behind the second one, which is rejected.
    sent.push(event(1, 6));
    let outcomes = send(&*producer, &sent).await;
    assert_eq!(stream.faults.requests("PutRecords"), 1);
    let receipt = outcomes[0].as_ref().unwrap();
    assert_eq!(receipt.position.unwrap().to_string(), "17");
    let told: Vec<_> = outcomes[1..]
        .iter()
        .map(|it| it.as_ref().unwrap_err())
        .map(|error| (error.kind(), error.is_retryable(), error.effect()))
        .collect();
    let expected = [
        (ErrorKind::Throttled, true, Effect::None),
        (ErrorKind::Unavailable, true, Effect::None),
        (ErrorKind::Denied, false, Effect::None),
        (ErrorKind::Throttled, true, Effect::None),
        (ErrorKind::Unavailable, true, Effect::Unknown),
        (ErrorKind::Blocked, false, Effect::None),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_request_that_fails_says_why_and_whether_it_took_effect() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[SINGLE]).await;
    let producer = stream.producer().await;
    let failed = |code| HttpFault::Error(400, code, "said the service");
    for (fault, kind, retryable, effect) in [
        (
            HttpFault::Refuse,
            ErrorKind::Unavailable,
            true,
            Effect::None,
        ),
        (
            HttpFault::LoseAnswer,
            ErrorKind::Unavailable,
            true,
            Effect::Unknown,
        ),
        (
            HttpFault::Answer("<html>hello</html>"),
            ErrorKind::Unavailable,
            true,
            Effect::Unknown,
        ),
        (
            failed("AccessDeniedException"),
            ErrorKind::Denied,
            false,
            Effect::None,
        ),
        (
            failed("ExpiredTokenException"),
            ErrorKind::Denied,
            true,
            Effect::None,
        ),
        (
            failed("KMSAccessDeniedException"),
            ErrorKind::Denied,
            false,
            Effect::None,
        ),
        (
            failed("KMSInvalidStateException"),
            ErrorKind::Unavailable,
            true,
            Effect::None,
        ),
        (
            failed("KMSNotFoundException"),
            ErrorKind::Denied,
            false,
            Effect::None,
        ),
        (
            failed("KMSOptInRequired"),
            ErrorKind::Denied,
            false,
            Effect::None,
        ),
        (
            failed("ResourceNotFoundException"),
            ErrorKind::NotFound,
            false,
            Effect::None,
        ),
        (
            failed("ResourceInUseException"),
            ErrorKind::Conflict,
            true,
            Effect::None,
        ),
        (
            failed("ValidationException"),
            ErrorKind::Invalid,
            false,
            Effect::None,
        ),
        (
            failed("ProvisionedThroughputExceededException"),
            ErrorKind::Throttled,
            true,
            Effect::None,
        ),
        (
            HttpFault::Error(500, "InternalFailure", "oops"),
            ErrorKind::Unavailable,
            true,
            Effect::Unknown,
        ),
    ] {
        let before = stream.faults.requests("PutRecords");
        let case = format!("{fault:?}");
        stream.faults.inject("PutRecords", fault);
        let outcomes = send(&*producer, &[event(1, 1), event(2, 2), event(1, 3)]).await;
        for outcome in &outcomes[..2] {
            let error = outcome.as_ref().unwrap_err();
            let told = (error.kind(), error.is_retryable(), error.effect());
            assert_eq!(told, (kind, retryable, effect), "{case}: {error}");
            assert!(error.to_string().contains(&stream.name), "{error}");
        }
        let behind = outcomes[2].as_ref().unwrap_err();
        assert_eq!(
            (behind.kind(), behind.effect()),
            (ErrorKind::Blocked, Effect::None),
            "{case}"
        );
        assert_eq!(
            stream.faults.requests("PutRecords") - before,
            1,
            "{case}: one attempt"
        );
    }
}

/// Sends all of `sent`, resending what was not stored; returns how many records the service rejected.
async fn send_all(producer: &dyn BatchProducer, sent: &[Event]) -> usize {
    let mut refused = 0;
    let mut waiting = sent.to_vec();
    while !waiting.is_empty() {
        let batch = waiting.len().min(500);
        let outcomes = send(producer, &waiting[..batch]).await;
        let mut wait = Duration::ZERO;
        let mut left = Vec::new();
        for (event, outcome) in waiting[..batch].iter().zip(&outcomes) {
            let Err(error) = outcome else { continue };
            assert_eq!(error.effect(), Effect::None, "{error}");
            refused += usize::from(error.to_string().contains("Exceeded"));
            if let Retry::After(after) = error.retry() {
                wait = wait.max(after);
            }
            left.push(event.clone());
        }
        left.extend_from_slice(&waiting[batch..]);
        waiting = left;
        tokio::time::sleep(wait).await;
    }
    refused
}

/// Counts how often the machine left this process waiting.
struct Stalls {
    count: Arc<AtomicUsize>,
    watching: tokio::task::JoinHandle<()>,
}

impl Stalls {
    fn watch() -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let watching = tokio::spawn(async move {
            let pause = Duration::from_millis(20);
            loop {
                let before = std::time::Instant::now();
                tokio::time::sleep(pause).await;
                if before.elapsed() > 5 * pause {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { count, watching }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn limited() -> StoreOptions {
    StoreOptions {
        enforce_limits: true,
        ..KinesisServer::quick()
    }
}

#[tokio::test]
async fn a_throttled_shard_is_paced_and_loses_neither_events_nor_their_order() {
    let server = Server::start(limited()).await;
    for options in [&[SINGLE][..], &[("aggregation_bytes", "8KiB")]] {
        let stream = server.stream(1, options).await;
        let producer = stream.producer().await;
        let padded = |n: usize| event(n % 400, n).with_data(format!("{n:0>1400}"));
        let sent: Vec<_> = (0..2500).map(padded).collect();
        let stalls = Stalls::watch();
        let refused = send_all(&*producer, &sent).await;
        // Behind a stall of the machine the service sees two requests at once and refuses the second.
        let allowed = sent.len() / 20 + 500 * stalls.count();
        assert!(
            refused <= allowed,
            "{refused} of 2500 sent twice, {allowed} allowed: {options:?}"
        );
        let read = read(&stream, sent.len()).await;
        assert_eq!(read.len(), sent.len());
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        for (_, record) in &read {
            let key = record.event.key().unwrap().to_owned();
            let before = last.insert(key, number(&record.event));
            assert!(before.is_none_or(|before| before < number(&record.event)));
        }
    }
}

#[tokio::test]
async fn a_hot_shard_does_not_stop_the_others() {
    let server = Server::start(limited()).await;
    let stream = server.stream(2, &[SINGLE]).await;
    let producer = stream.producer().await;
    let placed = |hash: u128, n: usize| {
        let event = event(n, n).with_attribute("kinesishashkey", hash.to_string());
        event.unwrap()
    };
    let mut sent: Vec<_> = (0..2500).map(|n| placed(0, n)).collect();
    sent.extend((2500..2600).map(|n| placed(u128::MAX, n)));
    let outcomes = send(&*producer, &sent).await;
    all_stored(&outcomes[2500..]);
    let hot = outcomes[..2500].iter().filter(|it| it.is_ok()).count();
    assert!((900..2500).contains(&hot), "{hot} of the hot shard");
    assert_ne!(producer.lane(&sent[0]), producer.lane(&sent[2500]));
    for outcome in outcomes[..2500].iter().filter_map(|it| it.as_ref().err()) {
        assert_eq!(outcome.kind(), ErrorKind::Throttled);
        assert!(matches!(outcome.retry(), Retry::After(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_missing_stream_is_an_error_or_made() {
    let server = Server::quick().await;
    let name = server.name();
    let missing = server.at(&name, &[]);
    let error = missing
        .resource
        .producer(&missing.runtime)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(&name), "{error}");
    for (partitions, expected) in [(Some("3"), 3), (None, 4)] {
        let mut options = vec![("create", "missing")];
        options.extend(partitions.map(|it| ("partitions", it)));
        let made = server.at(&server.name(), &options);
        let producer = made.producer().await;
        all_stored(&send(&*producer, &events(10, 10)).await);
        let description = made.admin().await.describe().await.unwrap();
        assert_eq!(description.partitions.len(), expected);
        // The stream exists now.
        made.producer().await;
        assert!(
            !made
                .admin()
                .await
                .create(&StreamSpec::default())
                .await
                .unwrap()
        );
    }
}

#[tokio::test]
async fn a_closed_producer_sends_nothing() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[]).await;
    let producer = stream.producer().await;
    producer.close().await.unwrap();
    producer.close().await.unwrap();
    let outcomes = send(&*producer, &events(3, 3)).await;
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(stream.faults.requests("PutRecords"), 0);
}

#[tokio::test]
async fn raw_data_goes_alone_and_comes_back_as_foreign() {
    let server = Server::quick().await;
    let stream = server.stream(1, &[("encoding", "raw")]).await;
    let producer = stream.producer().await;
    all_stored(&send(&*producer, &events(3, 3)).await);
    let raw = stream.raw();
    let iterator = raw
        .get_shard_iterator()
        .stream_name(&stream.name)
        .shard_id("shardId-000000000000")
        .shard_iterator_type("TRIM_HORIZON".into())
        .send();
    let iterator = iterator.await.unwrap().shard_iterator.unwrap();
    let records = raw
        .get_records()
        .shard_iterator(iterator)
        .send()
        .await
        .unwrap()
        .records;
    let data: Vec<_> = records.iter().map(|record| record.data.as_ref()).collect();
    assert_eq!(data, [b"0", b"1", b"2"]);
    for (at, (_, record)) in read(&stream, 3).await.iter().enumerate() {
        assert!(record.event.is_foreign());
        assert_eq!(record.event.key(), Some(format!("customer-{at}").as_str()));
    }
}

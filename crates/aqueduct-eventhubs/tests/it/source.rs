//! Tests of reading beyond the suite: starts, offsets, epochs, lost links, foreign messages.

use std::time::Duration;

use aqueduct_core::{
    Checkpoint, ErrorKind, Event, Partition, PartitionReader, PartitionedLog, Position, ReadFrom,
    Record, ResumeToken, Start,
};
use aqueduct_emulators::EventHubsFault;
use fe2o3_amqp::types::messaging::message::__private::Serializable;
use fe2o3_amqp::types::messaging::{AmqpSequence, AmqpValue, Body, Data, Message};
use fe2o3_amqp::types::primitives::Value;

use crate::common::{Hub, options, read, refusal, request, text, texts, until};

/// Stores `numbers` in a partition, as another client would.
fn publish(hub: &Hub, partition: usize, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let body: Body<Value> =
            Body::Data(vec![Data::from(number.to_string().into_bytes())].into());
        put(hub, partition, body);
    }
}

fn put(hub: &Hub, partition: usize, body: Body<Value>) {
    let message = Message::builder().body(body).build();
    let bytes = serde_amqp::to_vec(&Serializable(message)).unwrap();
    assert!(hub.server.publish("orders", partition, bytes));
}

/// Reads until there are `count` records. Reads may fail in a way that is worth another try.
async fn read_through(reader: &mut dyn PartitionReader, count: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    until(&format!("{count} records"), async || {
        match reader.read(count - records.len()).await {
            Ok(batch) => records.extend(batch.records),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        (records.len() >= count).then_some(())
    })
    .await;
    records
}

async fn first(log: &dyn PartitionedLog, from: ReadFrom, token: Option<&ResumeToken>) -> Record {
    let mut request = request("0", from);
    request.resume_token = token.cloned();
    read(&mut *log.open(&request).await.unwrap(), 1)
        .await
        .remove(0)
}

#[tokio::test]
async fn reading_starts_where_it_is_told() {
    let hub = Hub::with(options("orders", 1).with_opaque_offsets(), &[]).await;
    publish(&hub, 0, 0..10);
    let log = hub.log().await;
    let all = read(
        &mut *log.open(&request("0", ReadFrom::Earliest)).await.unwrap(),
        10,
    )
    .await;
    assert_eq!(
        texts(&all),
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
    let offsets: Vec<_> = hub
        .server
        .events("orders", 0)
        .iter()
        .map(|it| it.offset.clone())
        .collect();
    for (record, (number, offset)) in all.iter().zip(offsets.iter().enumerate()) {
        assert_eq!(record.position, Position::new(number as u64));
        assert_eq!(record.resume_token, Some(ResumeToken::new(offset.as_str())));
        assert!(offset.parse::<i64>().is_err(), "{offset} is a number");
        assert!(record.event.is_foreign());
        assert!(record.stored_at.is_some());
    }
    let four = &all[4];
    let token = four.resume_token.as_ref();
    for (from, token, expected) in [
        (ReadFrom::At(four.position), None, "4"),
        (ReadFrom::After(four.position), None, "5"),
        (ReadFrom::After(four.position), token, "5"),
        (ReadFrom::Time(all[0].stored_at.unwrap()), None, "0"),
    ] {
        assert_eq!(text(&first(&*log, from, token).await), expected, "{from:?}");
    }
    // A token that belongs to another place comes first: it is what the service resumes by.
    let six = all[6].resume_token.as_ref();
    let request_at = ReadFrom::After(four.position);
    let record = first(&*log, request_at, six).await;
    assert_eq!(text(&record), "7");
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn latest_is_a_position_before_the_first_read() {
    let hub = Hub::start(2, &[]).await;
    publish(&hub, 0, 0..3);
    let log = hub.log().await;
    let resolved = log.resolve(&Start::Latest).await.unwrap();
    let places: Vec<_> = resolved
        .partitions
        .iter()
        .map(|(_, place)| *place)
        .collect();
    assert_eq!(
        places,
        [
            Checkpoint::Start(ReadFrom::After(Position::new(2))),
            Checkpoint::Start(ReadFrom::Earliest),
        ]
    );
    // Stored between resolving and reading, with a cut in between.
    publish(&hub, 0, 3..4);
    let from = places[0].read_from().unwrap();
    let mut reader = log.open(&request("0", from)).await.unwrap();
    hub.server.cut_connections();
    publish(&hub, 0, 4..5);
    assert_eq!(texts(&read_through(&mut *reader, 2).await), ["3", "4"]);
    assert_eq!(
        log.tail(&"0".into()).await.unwrap().last,
        Some(Position::new(4))
    );
    assert_eq!(log.tail(&"1".into()).await.unwrap().last, None);
    let ids: Vec<Partition> = log.partitions().await.unwrap();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn a_reader_goes_on_after_the_last_event_however_often_it_is_cut() {
    let hub = Hub::with(options("orders", 1).with_opaque_offsets(), &[]).await;
    let log = hub.log().await;
    let mut reader = log.open(&request("0", ReadFrom::Earliest)).await.unwrap();
    let mut seen = Vec::new();
    for round in 0..6 {
        publish(&hub, 0, round * 5..round * 5 + 5);
        // Some events are received and not returned yet when the connection is cut.
        seen.extend(read_through(&mut *reader, 3).await);
        if round % 2 == 0 {
            hub.server.cut_connections();
        } else {
            let address = "orders/ConsumerGroups/$Default/Partitions/0";
            hub.server.inject(address, EventHubsFault::Cut);
        }
    }
    seen.extend(read_through(&mut *reader, 12).await);
    let expected: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    assert_eq!(texts(&seen), expected);
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn a_higher_generation_cuts_off_a_lower_one() {
    let hub = Hub::start(1, &[]).await;
    publish(&hub, 0, 0..3);
    let log = hub.log().await;
    let of = |generation| {
        let mut request = request("0", ReadFrom::Earliest);
        request.group = "billing".into();
        request.generation = generation;
        request
    };
    let mut first = log.open(&of(1)).await.unwrap();
    assert_eq!(read(&mut *first, 3).await.len(), 3);
    let mut second = log.open(&of(2)).await.unwrap();
    assert_eq!(read(&mut *second, 3).await.len(), 3);
    publish(&hub, 0, 3..4);
    let error = until("the first to be displaced", async || {
        first.read(10).await.err()
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::Revoked, "{error}");
    // It does not take the link back, and neither does a new reader of its generation.
    assert!(first.read(10).await.unwrap_err().is(ErrorKind::Revoked));
    let error = refusal(&*log, &of(1)).await;
    assert_eq!(error.kind(), ErrorKind::Revoked, "{error}");
    assert_eq!(texts(&read(&mut *second, 1).await), ["3"]);
    assert_eq!(hub.server.receivers("orders", "billing", 0), 1);

    assert_eq!(hub.server.steal("orders", "billing", 0), 1);
    let error = until("the theft", async || second.read(10).await.err()).await;
    assert_eq!(error.kind(), ErrorKind::Revoked, "{error}");
}

#[tokio::test]
async fn a_silent_connection_is_given_up_and_other_partitions_do_not_notice() {
    let hub = Hub::start(2, &[("idle_timeout", "2s")]).await;
    publish(&hub, 0, 0..1);
    publish(&hub, 1, 0..1);
    let log = hub.log().await;
    let mut silent = log.open(&request("0", ReadFrom::Earliest)).await.unwrap();
    let mut other = log.open(&request("1", ReadFrom::Earliest)).await.unwrap();
    assert_eq!(read(&mut *silent, 1).await.len(), 1);
    assert_eq!(read(&mut *other, 1).await.len(), 1);
    let address = "orders/ConsumerGroups/$Default/Partitions/0";
    hub.server.inject(address, EventHubsFault::Silence);
    publish(&hub, 0, 1..3);
    publish(&hub, 1, 1..3);
    assert_eq!(texts(&read(&mut *other, 2).await), ["1", "2"]);
    // The reader says nothing: its next link goes on where the last one stopped.
    assert_eq!(texts(&read(&mut *silent, 2).await), ["1", "2"]);
    assert_eq!(hub.server.pending_faults(), 0);
}

#[tokio::test]
async fn what_retention_removed_is_a_gap_and_a_quiet_partition_is_none() {
    let hub = Hub::start(1, &[]).await;
    publish(&hub, 0, 0..10);
    let log = hub.log().await;
    let after = |number| request("0", ReadFrom::After(Position::new(number)));
    let mut reader = log.open(&after(3)).await.unwrap();
    hub.server.expire("orders", 0, 7);
    let error = match log.open(&after(3)).await {
        Ok(_) => panic!("the gap was not noticed"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::PositionExpired);
    let shown = error.to_string();
    assert!(
        shown.contains("after:3") && shown.contains("oldest left is 7"),
        "{shown}"
    );
    // A reader that opened before notices too, at the first event that it receives, and so does
    // every read after that.
    for _ in 0..2 {
        let error = until("the gap", async || reader.read(10).await.err()).await;
        assert_eq!(error.kind(), ErrorKind::PositionExpired);
    }
    assert_eq!(
        text(&first(&*log, ReadFrom::After(Position::new(6)), None).await),
        "7"
    );

    hub.server.expire("orders", 0, 10);
    let mut quiet = log.open(&after(9)).await.unwrap();
    assert_eq!(quiet.read(10).await.unwrap().records.len(), 0);
    publish(&hub, 0, 10..11);
    assert_eq!(texts(&read(&mut *quiet, 1).await), ["10"]);
    let error = log.open(&after(42)).await.err().unwrap();
    assert!(error.to_string().contains("recreated"), "{error}");
}

#[tokio::test]
async fn foreign_bodies_come_as_what_they_are() {
    let hub = Hub::start(1, &[]).await;
    let log = hub.log().await;
    put(&hub, 0, Body::Value(AmqpValue(Value::from("text"))));
    put(
        &hub,
        0,
        Body::Sequence(vec![AmqpSequence(vec![Value::from(1i32)])].into()),
    );
    put(
        &hub,
        0,
        Body::Data(vec![Data::from(vec![0xff]), Data::from(vec![0])].into()),
    );
    // A section that the client library does not know: its event is damaged, and the next one comes.
    let unknown = [
        0x00, 0x53, 0x79, 0xa1, 0x01, b'x', 0x00, 0x53, 0x75, 0xa0, 0x01, b'y',
    ];
    let is_taken = hub.server.publish("orders", 0, unknown.to_vec());
    put(&hub, 0, Body::Data(vec![Data::from(&b"last"[..])].into()));
    let mut reader = log.open(&request("0", ReadFrom::Earliest)).await.unwrap();
    let records = read(&mut *reader, 4 + usize::from(is_taken)).await;
    let data = |at: usize| records[at].event.data().unwrap().as_ref();
    assert_eq!(
        (data(0), data(1), data(2)),
        (&b"text"[..], &b"[1]"[..], &[0xff, 0][..])
    );
    assert_eq!(records[0].event.source(), "eventhubs://127.0.0.1/orders");
    assert_eq!(records[1].event.id().to_string(), "0/1");
    if is_taken {
        assert_eq!(records[3].event.kind(), Event::DAMAGED.as_str());
        assert_eq!(records[3].position, Position::new(3));
    }
    assert_eq!(text(records.last().unwrap()), "last");
}

#[tokio::test]
async fn a_reader_takes_no_more_than_it_can_hold() {
    let hub = Hub::start(1, &[("prefetch", "10")]).await;
    publish(&hub, 0, 0..100);
    let log = hub.log().await;
    let mut reader = log.open(&request("0", ReadFrom::Earliest)).await.unwrap();
    let mut seen = 0;
    while seen < 100 {
        let batch = reader.read(1_000).await.unwrap();
        assert!(batch.records.len() <= 10, "{}", batch.records.len());
        seen += batch.records.len();
    }
    assert_eq!(hub.server.violations(), []);
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_tried_again() {
    let hub = Hub::start(1, &[]).await;
    publish(&hub, 0, 0..1);
    let log = hub.log().await;
    let mut reader = log.open(&request("0", ReadFrom::Earliest)).await.unwrap();
    assert_eq!(read(&mut *reader, 1).await.len(), 1);
    hub.server.refuse_connections(true);
    hub.server.cut_connections();
    let error = until("an error", async || reader.read(1).await.err()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable());
    hub.server.refuse_connections(false);
    publish(&hub, 0, 1..2);
    let record = until("the next event", async || {
        let batch = reader.read(1).await.ok()?;
        batch.records.into_iter().next()
    })
    .await;
    assert_eq!(text(&record), "1");
}

#[tokio::test]
async fn the_hub_says_when_it_was_created() {
    let hub = Hub::start(1, &[]).await;
    let log = hub.log().await;
    let created = log.created().await.unwrap().unwrap();
    let now = hub.runtime.wall();
    assert!(now.since(created) < Duration::from_secs(600), "{created}");
    let resolved = log.resolve(&Start::Earliest).await.unwrap();
    assert!(resolved.at >= created);
}

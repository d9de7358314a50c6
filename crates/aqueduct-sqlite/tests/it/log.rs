use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{
    Checkpoint, Effect, ErrorKind, Event, PartitionState, Position, ReadFrom, Start, StreamSpec,
};

use crate::support::*;

#[tokio::test]
async fn what_was_sent_comes_in_order_with_dense_positions() {
    let place = Place::new();
    let producer = place.producer(&[]).await;
    let events: Vec<_> = (0..1000)
        .map(|n| event(&format!("k{}", n % 10), n))
        .collect();
    let receipts = producer.send_batch(&events).await.into_result().unwrap();
    let log = place.log(&[]).await;
    let mut seen = BTreeMap::<String, Vec<u64>>::new();
    let mut stored = 0;
    for partition in log.partitions().await.unwrap() {
        let records = read_all(&*log, &partition.id).await;
        for (at, record) in records.iter().enumerate() {
            assert_eq!(record.position, Position::new(at as u64 + 1));
            let n = number(record) as usize;
            assert_eq!(record.event, events[n]);
            assert_eq!(receipts[n].partition.as_ref(), Some(&partition.id));
            assert_eq!(receipts[n].position, Some(record.position));
            assert!(record.stored_at.is_some());
            seen.entry(record.event.key().unwrap().into())
                .or_default()
                .push(n as u64);
        }
        stored += records.len();
    }
    assert_eq!(stored, 1000);
    assert_eq!(seen.len(), 10);
    assert!(
        seen.values()
            .all(|numbers| numbers.is_sorted() && numbers.len() == 100)
    );
}

#[tokio::test]
async fn an_event_over_the_limit_fails_alone_and_blocks_its_key() {
    let place = Place::new();
    let producer = place.producer(&[("max_event_bytes", "2KiB")]).await;
    assert_eq!(producer.capabilities().limits.event_bytes, Some(2048));
    let large = event("a", 1).with_data(vec![0; 4096]);
    let batch = [
        event("a", 0),
        large,
        event("a", 2),
        event("b", 3),
        event("a", 4),
    ];
    let outcomes = producer.send_batch(&batch).await.into_outcomes();
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|one| one.as_ref().err().map(|e| e.kind()))
        .collect();
    let blocked = Some(ErrorKind::Blocked);
    assert_eq!(
        kinds,
        [None, Some(ErrorKind::TooLarge), blocked, None, blocked]
    );
    let said = outcomes[1].as_ref().unwrap_err();
    assert!(said.message().contains("2048") && said.effect() == Effect::None);
    let stored: Vec<_> = read_stream(&*place.log(&[]).await)
        .await
        .iter()
        .map(number)
        .collect();
    assert_eq!(stored.len(), 2);
    assert!(stored.contains(&0) && stored.contains(&3));
}

#[tokio::test]
async fn a_call_larger_than_a_transaction_is_stored_whole() {
    let place = Place::new();
    let producer = place
        .producer(&[("wal_limit", "1MiB"), ("partitions", "2")])
        .await;
    let events: Vec<_> = (0..600)
        .map(|n| event(&format!("k{}", n % 7), n).with_data(n.to_string().repeat(700)))
        .collect();
    send(&*producer, &events).await;
    let stored = read_stream(&*place.log(&[("wal_limit", "1MiB")]).await).await;
    assert_eq!(stored.len(), 600);
    let mut last = BTreeMap::new();
    for record in stored {
        let text = String::from_utf8(record.event.data().unwrap().to_vec()).unwrap();
        let n: u64 = text[..text.len() / 700].parse().unwrap();
        let before = last.insert(record.event.key().unwrap().to_owned(), n);
        assert!(before < Some(n));
    }
}

#[tokio::test]
async fn empty_closed_and_keyless_sends() {
    let place = Place::new();
    let producer = place.producer(&[]).await;
    assert!(producer.send_batch(&[]).await.outcomes().is_empty());
    let keyless: Vec<_> = (0..40)
        .map(|_| Event::new("tick").with_source("/clock"))
        .collect();
    for one in keyless.chunks(1) {
        send(&*producer, one).await;
    }
    let log = place.log(&[]).await;
    for partition in log.partitions().await.unwrap() {
        assert_eq!(
            read_all(&*log, &partition.id).await.len(),
            10,
            "they are spread evenly"
        );
    }
    producer.close().await.unwrap();
    producer.close().await.unwrap();
    let refused = producer.send_batch(&keyless).await;
    assert!(
        refused
            .outcomes()
            .iter()
            .all(|one| one.as_ref().unwrap_err().is(ErrorKind::Closed))
    );
}

#[tokio::test]
async fn a_reader_wakes_for_what_is_stored_while_it_waits() {
    let place = Place::new();
    let producer = place.producer(&[("partitions", "1")]).await;
    let log = place.log(&[]).await;
    let mut wanted = request(&"0".into(), ReadFrom::Earliest);
    wanted.max_wait = Duration::from_secs(30);
    let mut reader = log.open(&wanted).await.unwrap();
    let waiting = tokio::spawn(async move { reader.read(10).await });
    tokio::task::yield_now().await;
    send(&*producer, &[event("a", 7)]).await;
    let batch = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    let batch = batch
        .expect("it wakes long before its own wait ends")
        .unwrap()
        .unwrap();
    assert_eq!(number(&batch.records[0]), 7);
}

#[tokio::test]
async fn a_read_that_is_cancelled_loses_nothing() {
    let place = Place::new();
    let producer = place.producer(&[("partitions", "1")]).await;
    let events: Vec<_> = (0..500).map(|n| event("a", n)).collect();
    send(&*producer, &events).await;
    let log = place.log(&[]).await;
    let mut reader = open(&*log, "0", ReadFrom::Earliest).await;
    let mut read = Vec::new();
    for round in 0u64.. {
        let wait = Duration::from_micros(round * 37 % 400);
        if let Ok(batch) = tokio::time::timeout(wait, reader.read(7)).await {
            read.extend(batch.unwrap().records.iter().map(number));
        }
        if read.len() >= 500 {
            break;
        }
        assert!(round < 100_000);
    }
    assert_eq!(read, (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn starts_lie_where_they_say() {
    let place = Place::new();
    let producer = place.producer(&[("partitions", "1")]).await;
    let log = place.log(&[]).await;
    send(&*producer, &[event("a", 0), event("a", 1)]).await;
    let first = read_all(&*log, &"0".into()).await[0].stored_at.unwrap();
    let between = place.runtime.wall();
    send(&*producer, &[event("a", 2)]).await;

    let resolve = async |start| log.resolve(&start).await.unwrap().partitions[0].1;
    let at = |n| Checkpoint::Start(ReadFrom::At(Position::new(n)));
    assert_eq!(
        resolve(Start::Earliest).await,
        Checkpoint::Start(ReadFrom::Earliest)
    );
    let latest = Checkpoint::Start(ReadFrom::After(Position::new(3)));
    assert_eq!(resolve(Start::Latest).await, latest);
    assert_eq!(resolve(Start::Time(first)).await, at(1));
    assert_eq!(resolve(Start::Time(between)).await, at(3));

    for (from, expected) in [
        (ReadFrom::Earliest, Some(0)),
        (ReadFrom::At(Position::new(2)), Some(1)),
        (ReadFrom::After(Position::new(2)), Some(2)),
        (ReadFrom::Time(between), Some(2)),
        (ReadFrom::After(Position::new(3)), None),
        (ReadFrom::After(Position::new(0)), Some(0)),
    ] {
        let batch = open(&*log, "0", from).await.read(1).await.unwrap();
        assert_eq!(batch.records.first().map(number), expected, "{from:?}");
    }
    let future = place
        .runtime
        .wall()
        .saturating_add(Duration::from_secs(3600));
    let mut waiting = open(&*log, "0", ReadFrom::Time(future)).await;
    assert!(waiting.read(1).await.unwrap().records.is_empty());
}

#[tokio::test]
async fn a_position_that_never_was_is_no_silence() {
    let place = Place::new();
    send(&*place.producer(&[]).await, &[event("a", 0)]).await;
    let log = place.log(&[]).await;
    let wanted = request(&"0".into(), ReadFrom::After(Position::new(500)));
    let error = log.open(&wanted).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PositionExpired);
    assert!(error.message().contains("501"), "{error}");
    for unknown in ["9", "00", "shard"] {
        let wanted = request(&unknown.into(), ReadFrom::Earliest);
        assert!(
            log.open(&wanted)
                .await
                .err()
                .unwrap()
                .is(ErrorKind::NotFound)
        );
    }
}

#[tokio::test]
async fn resharding_ends_parents_and_keys_go_on_in_their_children() {
    let place = Place::new();
    let resource = place.resource("orders", &[("partitions", "2")]);
    let producer = resource.producer(&place.runtime).await.unwrap();
    let admin = resource.admin(&place.runtime).await.unwrap();
    let batch = |from: u64| -> Vec<_> {
        (from..from + 60)
            .map(|n| event(&format!("k{}", n % 20), n))
            .collect()
    };
    send(&*producer, &batch(0)).await;
    admin.reshard(3).await.unwrap();
    send(&*producer, &batch(60)).await;
    admin.reshard(1).await.unwrap();
    send(&*producer, &batch(120)).await;

    let log = place.log(&[]).await;
    let partitions = log.partitions().await.unwrap();
    let states: Vec<_> = partitions
        .iter()
        .map(|one| one.state == PartitionState::Open)
        .collect();
    assert_eq!(states, [false, false, false, false, false, true]);
    assert_eq!(
        partitions[3].parents.len(),
        2,
        "the middle third overlaps both halves"
    );
    assert_eq!(partitions[5].parents.len(), 3);
    let mut last = BTreeMap::new();
    for partition in &partitions {
        if partition.state == PartitionState::Closed {
            let mut reader = open(&*log, partition.id.as_str(), ReadFrom::Earliest).await;
            let mut end = None;
            while end.is_none() {
                end = reader.read(1000).await.unwrap().end;
            }
            let children = end.unwrap().children;
            assert!(!children.is_empty());
            for child in children {
                let child = partitions.iter().find(|one| one.id == child).unwrap();
                assert!(child.parents.contains(&partition.id));
            }
        }
        // Partitions are listed parents first, so a key's events come in the order of sending.
        for record in read_all(&*log, &partition.id).await {
            let before = last.insert(record.event.key().unwrap().to_owned(), number(&record));
            assert!(before < Some(number(&record)));
            let range = partition.range.unwrap();
            assert!(range.first <= range.last);
        }
    }
    assert_eq!(last.len(), 20);
    assert!(last.values().all(|n| *n >= 160));
    assert!(admin.reshard(0).await.unwrap_err().is(ErrorKind::Invalid));
}

#[tokio::test]
async fn a_deleted_stream_is_gone_for_everybody_and_can_be_recreated() {
    let place = Place::new();
    let resource = place.resource("orders", &[]);
    let producer = resource.producer(&place.runtime).await.unwrap();
    let admin = resource.admin(&place.runtime).await.unwrap();
    send(&*producer, &[event("a", 0)]).await;
    let log = place.log(&[]).await;
    let mut reader = open(&*log, "0", ReadFrom::Earliest).await;
    admin.delete().await.unwrap();
    assert!(admin.describe().await.unwrap_err().is(ErrorKind::NotFound));
    assert!(admin.delete().await.unwrap_err().is(ErrorKind::NotFound));
    let refused = producer
        .send_batch(&[event("a", 1)])
        .await
        .into_result()
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let mut noticed = reader.read(1).await;
    if noticed.is_ok() {
        // These events were fetched before.
        noticed = reader.read(1).await;
    }
    assert!(noticed.unwrap_err().is(ErrorKind::NotFound));
    assert!(admin.create(&StreamSpec::with_partitions(3)).await.unwrap());
    assert!(!admin.create(&StreamSpec::with_partitions(5)).await.unwrap());
    let made = admin.describe().await.unwrap();
    assert_eq!(made.partitions.len(), 3);
    assert!(made.created.is_some());
    assert!(read_stream(&*place.log(&[]).await).await.is_empty());
}

#[tokio::test]
async fn streams_of_one_file_are_apart() {
    let place = Place::new();
    for (stream, n) in [("orders", 1), ("payments", 2)] {
        let producer = place
            .resource(stream, &[])
            .producer(&place.runtime)
            .await
            .unwrap();
        send(&*producer, &[event("a", n)]).await;
    }
    let renamed = place.resource("whatever", &[("stream", "payments")]);
    let log = log_of(&*renamed, &place.runtime).await.unwrap();
    assert_eq!(log.stream().as_str(), "payments");
    let stored: Vec<_> = read_stream(&*log).await.iter().map(number).collect();
    assert_eq!(stored, [2]);
}

#[tokio::test]
async fn anyone_can_read_the_file_with_sql_alone() {
    let place = Place::new();
    let producer = place.producer(&[("partitions", "1")]).await;
    let events = [
        event("a", 41).with_subject("x"),
        Event::new("tick").with_source("/clock"),
        event("b", 42)
            .with_attribute("traceparent", "00-1-2-01")
            .unwrap(),
    ];
    send(&*producer, &events).await;
    let shell = aqueduct_sqlite::rusqlite::Connection::open(place.file()).unwrap();
    let mut select = shell
        .prepare(
            "SELECT position, id, type, source, key, subject, CAST(data AS TEXT),
             attributes ->> 'traceparent' FROM aqueduct_event WHERE stream = 'orders' ORDER BY 1",
        )
        .unwrap();
    type Row = (
        i64,
        String,
        String,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let rows: Vec<Row> = select
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
                row.get(7)?,
            ))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rows.len(), 3);
    for (row, event) in rows.iter().zip(&events) {
        assert_eq!((&*row.1, &*row.2), (&*event.id().to_string(), event.kind()));
    }
    assert_eq!(
        (rows[0].0, &rows[0].4, &rows[0].5, &rows[0].6),
        (1, &text("a"), &text("x"), &text("41"))
    );
    assert_eq!((rows[1].0, &rows[1].4, &rows[1].6), (2, &None, &None));
    assert_eq!(
        (rows[2].0, &rows[2].6, &rows[2].7),
        (3, &text("42"), &text("00-1-2-01"))
    );
}

#[tokio::test]
async fn lag_counts_what_a_group_has_not_settled() {
    use aqueduct_core::{GroupKey, GroupName, Lease};
    let place = Place::new();
    let resource = place.resource("orders", &[("partitions", "1")]);
    let producer = resource.producer(&place.runtime).await.unwrap();
    let events: Vec<_> = (0..10).map(|n| event("a", n)).collect();
    send(&*producer, &events).await;
    let admin = resource.admin(&place.runtime).await.unwrap();
    let group = GroupName::new("billing");
    assert_eq!(admin.lag(&group).await.unwrap()[0].events, 10);
    let leases = resource.leases(&place.runtime).await.unwrap();
    let key = GroupKey::new("billing", "orders");
    let lease = Lease::new("0".into(), Checkpoint::At(Position::new(7)));
    let stored = leases.create(&key, lease).await.unwrap();
    let behind = &admin.lag(&group).await.unwrap()[0];
    assert_eq!(behind.events, 3);
    assert!(behind.oldest.is_some());
    let mut done = stored.clone();
    done.checkpoint = Checkpoint::At(Position::new(10));
    leases.swap(&key, &stored, done).await.unwrap();
    let even = &admin.lag(&group).await.unwrap()[0];
    assert_eq!((even.events, even.oldest), (0, None));
}

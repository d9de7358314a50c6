use std::time::Duration;

use aqueduct_core::{ErrorKind, Position, ReadFrom};
use aqueduct_sqlite::{SqlResultExt as _, SqliteOptions, SyncMode};

use crate::support::*;

#[tokio::test]
async fn old_events_go_and_who_wants_them_is_told() {
    let place = Place::new();
    let options = [("partitions", "1"), ("retention", "300ms")];
    let producer = place.producer(&options).await;
    let log = place.log(&[]).await;
    send(&*producer, &[event("a", 0), event("a", 1)]).await;
    let mut slow = open(&*log, "0", ReadFrom::At(Position::new(1))).await;
    let mut earliest = open(&*log, "0", ReadFrom::Earliest).await;
    until("they are removed", || async {
        log.partitions().await.unwrap()[0].earliest == Some(Position::new(3))
    })
    .await;
    let expired = slow.read(10).await.unwrap_err();
    assert_eq!(expired.kind(), ErrorKind::PositionExpired);
    let said = expired.message();
    assert!(
        said.contains("position 1") && said.contains("first is 3"),
        "{said}"
    );
    let wanted = request(&"0".into(), ReadFrom::After(Position::new(1)));
    assert!(
        log.open(&wanted)
            .await
            .err()
            .unwrap()
            .is(ErrorKind::PositionExpired)
    );
    // Positions continue after the removed ones.
    send(&*producer, &[event("a", 2)]).await;
    let batch = earliest.read(10).await.unwrap();
    assert_eq!(batch.records[0].position, Position::new(3));
}

#[tokio::test]
async fn a_stream_over_its_size_loses_its_oldest_events() {
    let place = Place::new();
    let options = [("partitions", "2"), ("max_bytes", "1MiB")];
    let producer = place.producer(&options).await;
    for round in 0..40 {
        let events: Vec<_> = (0..10)
            .map(|n| event(&format!("k{n}"), round * 10 + n).with_data(vec![b'x'; 8 << 10]))
            .collect();
        send(&*producer, &events).await;
    }
    let store = place.store().await;
    let bytes = || async {
        store
            .read(|connection| {
                Ok(connection
                    .query_row(
                        "SELECT sum(octet_length(shapes) + octet_length(heads) + octet_length(body)),
                         (SELECT sum(bytes) FROM aqueduct_partition) FROM aqueduct_segment",
                        [],
                        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
                    )
                    .unwrap())
            })
            .await
            .unwrap()
    };
    until("the oldest are removed", || async {
        bytes().await.0 <= 1 << 20
    })
    .await;
    let (kept, counted) = bytes().await;
    assert_eq!(kept, counted);
    assert!(kept > 900 << 10, "no more than needed goes: {kept}");
    let log = place.log(&[]).await;
    for partition in log.partitions().await.unwrap() {
        let records = read_all(&*log, &partition.id).await;
        assert_eq!(records.first().map(|it| it.position), partition.earliest);
        assert!(records.len() > 20, "both partitions keep their newest");
    }
}

#[tokio::test]
async fn an_ended_partition_leaves_the_listing_once_retention_emptied_it() {
    let place = Place::new();
    let resource = place.resource("orders", &[("partitions", "1"), ("retention", "200ms")]);
    send(
        &*resource.producer(&place.runtime).await.unwrap(),
        &[event("a", 0)],
    )
    .await;
    resource
        .admin(&place.runtime)
        .await
        .unwrap()
        .reshard(2)
        .await
        .unwrap();
    let log = log_of(&*resource, &place.runtime).await.unwrap();
    until("the parent leaves", || async {
        log.partitions().await.unwrap().len() == 2
    })
    .await;
    let left = log.partitions().await.unwrap();
    assert!(left.iter().all(|child| child.parents == ["0".into()]));
}

#[tokio::test]
async fn a_deleted_streams_events_are_cleared_in_the_background() {
    let place = Place::new();
    let resource = place.resource("orders", &[("partitions", "2")]);
    let producer = resource.producer(&place.runtime).await.unwrap();
    for n in 0..200 {
        send(&*producer, &[event(&format!("k{n}"), n)]).await;
    }
    resource
        .admin(&place.runtime)
        .await
        .unwrap()
        .delete()
        .await
        .unwrap();
    let store = place.store().await;
    until("nothing is left", || async {
        let left = store.read(|connection| {
            Ok(connection
                .query_row(
                    "SELECT (SELECT count(*) FROM aqueduct_segment)
                     + (SELECT count(*) FROM aqueduct_partition)",
                    [],
                    |row| row.get::<_, i64>(0),
                )
                .unwrap())
        });
        left.await.unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn dead_letters_and_completed_ids_go_after_their_time() {
    use aqueduct_core::{
        DeadLetter, DeadLetterQuery, DeadLetterReason, EventClaim, IdempotencyScope,
    };
    let place = Place::new();
    let resource = place.resource(
        "orders",
        &[
            ("retention", "100ms"),
            ("dead_letter_retention", "100ms"),
            ("idempotency_retention", "200ms"),
        ],
    );
    let dead_letters = resource.dead_letters(&place.runtime).await.unwrap();
    let records = resource.idempotency(&place.runtime).await.unwrap();
    assert_eq!(records.retention(), Some(Duration::from_millis(200)));
    let now = place.runtime.wall();
    let dead_letter = DeadLetter::new(
        event("a", 0),
        "orders".into(),
        "billing".into(),
        DeadLetterReason::Rejected,
        "no",
        now,
    );
    dead_letters
        .put(&[dead_letter])
        .await
        .pop()
        .unwrap()
        .unwrap();
    let scope = IdempotencyScope {
        group: "billing".into(),
        handlers: "all".into(),
        replay: 0,
    };
    let claim = EventClaim::new(&event("a", 0), 1);
    records
        .complete(&scope, std::slice::from_ref(&claim))
        .await
        .pop()
        .unwrap()
        .unwrap();
    until("both are gone", || async {
        dead_letters
            .list(&DeadLetterQuery::default())
            .await
            .unwrap()
            .is_empty()
    })
    .await;
    until("the id is forgotten", || async {
        let probe = EventClaim::new(&event("probe", 0), 9);
        records.claim(&scope, &[probe]).await.unwrap();
        let store = records
            .claim(&scope, std::slice::from_ref(&claim))
            .await
            .unwrap();
        store[0] != aqueduct_core::Claimed::Completed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_from_the_earliest_is_never_overtaken() {
    let place = Place::new();
    let producer = place
        .producer(&[("partitions", "1"), ("sync", "normal")])
        .await;
    let log = place.log(&[("sync", "normal")]).await;
    let mut options = SqliteOptions::default();
    options.sync = SyncMode::Normal;
    let store = place
        .backend
        .store(place.file(), options, &place.runtime)
        .await
        .unwrap();
    for n in 0..1500 {
        send(&*producer, &[event("a", n)]).await;
    }
    let removing = tokio::spawn(async move {
        for _ in 0..1400 {
            store
                .transaction(|tx| {
                    tx.execute_batch(
                        "DELETE FROM aqueduct_segment WHERE last =
                         (SELECT min(last) FROM aqueduct_segment);
                         UPDATE aqueduct_partition SET first =
                         (SELECT min(first) FROM aqueduct_segment);",
                    )
                    .sql("remove the oldest")
                })
                .await
                .unwrap();
        }
    });
    while !removing.is_finished() {
        let mut reader = open(&*log, "0", ReadFrom::Earliest).await;
        assert!(!reader.read(1).await.unwrap().records.is_empty());
    }
    removing.await.unwrap();
}

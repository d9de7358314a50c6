//! The log: placement, reads, starts, retention and resharding.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::common::{Harness, SECOND, event, request, resource, text};
use aqueduct_core::hash::hash_key;
use aqueduct_core::{
    Checkpoint, ErrorKind, Event, HashRange, PartitionId, PartitionState, Position, ReadFrom, Start,
};

#[test]
fn a_key_has_one_partition_and_keeps_its_order_at_dense_positions() {
    let harness = Harness::new(&[]);
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let events: Vec<Event> = (0..800)
        .map(|n| {
            event(
                keys[n % keys.len()],
                format!("{} {n}", keys[n % keys.len()]),
            )
        })
        .collect();
    let producer = harness.producer();
    for (sent, outcome) in events.iter().zip(harness.send(&events)) {
        let id = outcome.unwrap().partition.unwrap();
        let partition = harness
            .partitions()
            .into_iter()
            .find(|it| it.id == id)
            .unwrap();
        assert!(
            partition
                .range
                .unwrap()
                .contains(hash_key(sent.key().unwrap()))
        );
        assert_eq!(producer.lane(sent).0.to_string(), id.as_str());
    }
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    let mut total = 0;
    for partition in harness.partitions() {
        let mut reader = harness.reader(partition.id.as_str(), ReadFrom::Earliest);
        let batch = harness.run(reader.read(1_000)).unwrap();
        for (record, place) in batch.records.iter().zip(1..) {
            assert_eq!(record.position, Position::new(place));
            let data = text(&record.event);
            let (key, n) = data.split_once(' ').unwrap();
            let n: u32 = n.parse().unwrap();
            assert!(last.insert(key.into(), n).is_none_or(|before| before < n));
            total += 1;
        }
    }
    assert_eq!(total, 800);
}

#[test]
fn events_without_a_key_go_to_each_partition_in_turn() {
    let harness = Harness::new(&[("partitions", "3")]);
    let events: Vec<Event> = (0..30).map(|n| event(None, n)).collect();
    assert!(harness.send(&events).iter().all(Result::is_ok));
    for partition in ["0", "1", "2"] {
        assert_eq!(harness.read_all(partition).len(), 10);
    }
}

#[test]
fn an_event_over_the_limit_fails_and_blocks_its_key_alone() {
    let harness = Harness::new(&[("max_event_bytes", "1KiB")]);
    let limit = harness.producer().capabilities().limits.event_bytes;
    assert_eq!(limit, Some(1024));
    let large = "x".repeat(2_000);
    let outcomes = harness.send(&[
        event("a", 1),
        event("a", &large),
        event("a", 2),
        event("b", 3),
        event(None, &large),
        event(None, 4),
    ]);
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|it| it.as_ref().err().map(|e| e.kind()))
        .collect();
    let (large, blocked) = (Some(ErrorKind::TooLarge), Some(ErrorKind::Blocked));
    assert_eq!(kinds, [None, large, blocked, None, large, None]);
    assert!(harness.send(&[]).is_empty());
}

#[test]
fn a_reader_waits_wakes_and_answers_without_records_after_its_wait() {
    let harness = Harness::new(&[("partitions", "1")]);
    let mut reader = harness.reader("0", ReadFrom::Earliest);
    let began = harness.runtime.now();
    assert!(harness.run(reader.read(10)).unwrap().records.is_empty());
    assert_eq!(harness.runtime.now().since(began), SECOND);

    let (producer, runtime) = (harness.producer(), harness.runtime.clone());
    let sender = harness.runtime.spawn(async move {
        runtime.sleep(SECOND / 2).await;
        producer
            .send_batch(&[event("a", "late")])
            .await
            .into_result()
    });
    let began = harness.runtime.now();
    let batch = harness.run(reader.read(10)).unwrap();
    assert_eq!(harness.runtime.now().since(began), SECOND / 2);
    assert_eq!(text(&batch.records[0].event), "late");
    harness.run(sender).unwrap().unwrap();
}

#[test]
fn a_cancelled_read_loses_nothing() {
    let harness = Harness::new(&[("partitions", "1")]);
    let mut reader = harness.reader("0", ReadFrom::Earliest);
    for n in 0..20 {
        harness.run(async {
            let read = reader.read(10);
            futures::pin_mut!(read);
            assert!(futures::poll!(read.as_mut()).is_pending());
            let outcomes = harness.resource.producer(&harness.runtime).await.unwrap();
            outcomes
                .send_batch(&[event("a", n)])
                .await
                .into_result()
                .unwrap();
        });
        let batch = harness.run(reader.read(10)).unwrap();
        assert_eq!(text(&batch.records[0].event), n.to_string());
    }
}

#[test]
fn a_read_is_limited_by_count_and_by_bytes_but_brings_one() {
    let harness = Harness::new(&[("partitions", "1")]);
    let events: Vec<Event> = (0..10).map(|_| event("a", "x".repeat(1_000))).collect();
    harness.send(&events);
    let mut request = request("0", ReadFrom::Earliest);
    request.max_bytes = 3_500;
    let mut reader = harness.run(harness.log().open(&request)).unwrap();
    let batch = harness.run(reader.read(100)).unwrap();
    assert_eq!(batch.records.len(), 3);
    let tail = batch.tail.unwrap();
    assert_eq!(
        (tail.last, tail.events_behind),
        (Some(Position::new(10)), Some(7))
    );
    assert_eq!(harness.run(reader.read(2)).unwrap().records.len(), 2);
    request.max_bytes = 1;
    let mut reader = harness.run(harness.log().open(&request)).unwrap();
    assert_eq!(harness.run(reader.read(100)).unwrap().records.len(), 1);
}

#[test]
fn retention_by_count_and_by_age_and_an_expired_position_says_so() {
    let harness = Harness::new(&[
        ("partitions", "1"),
        ("max_events", "10"),
        ("retention", "1h"),
    ]);
    let mut late = harness.reader("0", ReadFrom::At(Position::new(1)));
    let mut fresh = harness.reader("0", ReadFrom::Earliest);
    harness.send(&(0..25).map(|n| event("a", n)).collect::<Vec<_>>());
    assert_eq!(harness.partitions()[0].earliest, Some(Position::new(16)));
    let error = harness.run(late.read(10)).unwrap_err();
    assert!(error.is(ErrorKind::PositionExpired), "{error}");
    assert!(error.to_string().contains("position 1 ") && error.to_string().contains("16"));
    assert_eq!(
        harness.run(fresh.read(10)).unwrap().records[0].position,
        Position::new(16)
    );

    harness.simulation.advance(Duration::from_secs(3_601));
    assert_eq!(harness.partitions()[0].earliest, None);
    let place = ReadFrom::After(Position::new(20));
    let refused = harness.run(harness.log().open(&request("0", place)));
    assert!(refused.err().unwrap().is(ErrorKind::PositionExpired));
    let tail = harness
        .run(harness.log().tail(&PartitionId::from("0")))
        .unwrap();
    assert_eq!(tail.last, Some(Position::new(25)));
    let mut next = harness.reader("0", ReadFrom::After(Position::new(25)));
    harness.send(&[event("a", "again")]);
    assert_eq!(
        harness.run(next.read(10)).unwrap().records[0].position,
        Position::new(26)
    );
}

#[test]
fn every_start_resolves_to_places() {
    let harness = Harness::new(&[("partitions", "1")]);
    harness.send(&[event("a", 1)]);
    harness.simulation.advance(10 * SECOND);
    let between = harness.runtime.wall();
    harness.simulation.advance(10 * SECOND);
    harness.send(&[event("a", 2)]);
    let resolve = |start| {
        let resolved = harness.run(harness.log().resolve(&start)).unwrap();
        assert_eq!(resolved.at, harness.runtime.wall());
        resolved.partitions.into_iter().map(|(_, it)| it).next()
    };
    let start = |from| Some(Checkpoint::Start(from));
    let (first, id) = (Position::new(1), PartitionId::from("0"));
    let future = harness.runtime.wall().saturating_add(60 * SECOND);
    let now = harness
        .runtime
        .wall()
        .saturating_add(Duration::from_nanos(1));
    assert_eq!(resolve(Start::Earliest), start(ReadFrom::Earliest));
    assert_eq!(
        resolve(Start::Latest),
        start(ReadFrom::After(Position::new(2)))
    );
    assert_eq!(
        resolve(Start::Time(between)),
        start(ReadFrom::At(Position::new(2)))
    );
    assert_eq!(resolve(Start::Time(future)), start(ReadFrom::Time(future)));
    harness.simulation.advance(SECOND);
    assert_eq!(
        resolve(Start::Time(now)),
        start(ReadFrom::At(Position::new(3)))
    );
    let named = Start::Positions(vec![(id, ReadFrom::After(first))]);
    assert_eq!(resolve(named), start(ReadFrom::After(first)));
    let unknown = Start::Positions(vec![(PartitionId::from("9"), ReadFrom::Earliest)]);
    let refused = harness.run(harness.log().resolve(&unknown));
    assert!(refused.unwrap_err().is(ErrorKind::NotFound));

    let mut later = harness.reader("0", ReadFrom::Time(future));
    harness.send(&[event("a", "too early")]);
    assert!(harness.run(later.read(10)).unwrap().records.is_empty());
    harness.simulation.advance(60 * SECOND);
    harness.send(&[event("a", "in time")]);
    assert_eq!(
        text(&harness.run(later.read(10)).unwrap().records[0].event),
        "in time"
    );
}

#[test]
fn a_position_that_was_never_written_is_no_place() {
    let harness = Harness::new(&[("partitions", "1")]);
    harness.send(&[event("a", 1)]);
    for place in [
        ReadFrom::At(Position::new(3)),
        "99999999999999999999999"
            .parse()
            .map(ReadFrom::After)
            .unwrap(),
    ] {
        let refused = harness.run(harness.log().open(&request("0", place)));
        assert!(refused.err().unwrap().is(ErrorKind::PositionExpired));
    }
    harness.reader("0", ReadFrom::At(Position::new(2)));
    let unknown = harness.run(harness.log().open(&request("7", ReadFrom::Earliest)));
    assert!(unknown.err().unwrap().is(ErrorKind::NotFound));
}

#[test]
fn resharding_closes_parents_and_children_go_on_with_the_keys() {
    let harness = Harness::new(&[("partitions", "2")]);
    let admin = harness
        .run(harness.resource.admin(&harness.runtime))
        .unwrap();
    assert!(
        harness
            .run(admin.reshard(2))
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
    harness.producer();
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut n = 0;
    for count in [2, 5, 3, 1, 4] {
        harness.run(admin.reshard(count)).unwrap();
        let open: Vec<_> = harness
            .partitions()
            .into_iter()
            .filter(|it| it.state == PartitionState::Open)
            .collect();
        assert_eq!(open.len(), count as usize);
        let mut ranges: Vec<HashRange> = open.iter().map(|it| it.range.unwrap()).collect();
        ranges.sort_unstable();
        assert!(ranges[0].first == 0 && ranges[ranges.len() - 1].last == u128::MAX);
        let events: Vec<Event> = (0..100).map(|i| event(keys[i % 10], n + i)).collect();
        n += 100;
        for (sent, outcome) in events.iter().zip(harness.send(&events)) {
            let id = outcome.unwrap().partition.unwrap();
            assert!(open.iter().any(|it| it.id == id));
            assert_eq!(harness.producer().lane(sent).0.to_string(), id.as_str());
        }
    }
    // Parents are read before children, so that every key stays in order and complete.
    let partitions = harness.partitions();
    let mut read: BTreeSet<PartitionId> = BTreeSet::new();
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    let mut total = 0;
    while read.len() < partitions.len() {
        let next = partitions
            .iter()
            .find(|it| !read.contains(&it.id) && it.parents.iter().all(|id| read.contains(id)))
            .unwrap();
        let mut reader = harness.reader(next.id.as_str(), ReadFrom::Earliest);
        let batch = harness.run(reader.read(10_000)).unwrap();
        let children = batch.end.map(|end| end.children);
        assert_eq!(children.is_some(), next.state == PartitionState::Closed);
        for child in children.unwrap_or_default() {
            let child = partitions.iter().find(|it| it.id == child).unwrap();
            assert!(child.parents.contains(&next.id));
        }
        for record in batch.records {
            let n: u32 = text(&record.event).parse().unwrap();
            let key = record.event.key().unwrap().to_owned();
            assert!(last.insert(key, n).is_none_or(|before| before < n));
            total += 1;
        }
        read.insert(next.id.clone());
    }
    assert_eq!(total, 500);
    for wrong in [0, 1025] {
        assert!(
            harness
                .run(admin.reshard(wrong))
                .unwrap_err()
                .is(ErrorKind::Invalid)
        );
    }
}

#[test]
fn latest_leaves_nothing_of_a_closed_partition_and_retention_unlists_it() {
    let harness = Harness::new(&[("partitions", "1"), ("retention", "1h")]);
    harness.send(&[event("a", 1)]);
    let mut waiting = harness.reader("0", ReadFrom::After(Position::new(1)));
    let admin = harness
        .run(harness.resource.admin(&harness.runtime))
        .unwrap();
    harness.run(admin.reshard(2)).unwrap();
    let end = harness.run(waiting.read(10)).unwrap().end.unwrap();
    assert_eq!(end.children, ["1", "2"].map(PartitionId::from));
    let latest = harness
        .run(harness.log().resolve(&Start::Latest))
        .unwrap()
        .partitions;
    assert_eq!(latest[0], (PartitionId::from("0"), Checkpoint::End));
    harness.simulation.advance(3_601 * SECOND);
    let listed: Vec<_> = harness.partitions().into_iter().map(|it| it.id).collect();
    assert_eq!(listed, ["1", "2"].map(PartitionId::from));
}

#[test]
fn a_reader_of_a_higher_generation_displaces_the_lower_while_it_lives() {
    let harness = Harness::new(&[("partitions", "1")]);
    let open = |generation| {
        let mut request = request("0", ReadFrom::Earliest);
        request.generation = generation;
        harness.run(harness.log().open(&request))
    };
    harness.send(&[event("a", 1)]);
    let mut old = open(1).unwrap();
    assert_eq!(harness.run(old.read(1)).unwrap().records.len(), 1);
    let mut new = open(2).unwrap();
    assert!(harness.run(old.read(1)).unwrap_err().is(ErrorKind::Revoked));
    assert!(open(1).err().unwrap().is(ErrorKind::Revoked));
    assert_eq!(harness.run(new.read(1)).unwrap().records.len(), 1);
    drop(new);
    open(1).unwrap();
}

#[test]
fn a_recreated_stream_is_another() {
    let harness = Harness::new(&[("partitions", "1")]);
    harness.send(&[event("a", 1), event("a", 2)]);
    let mut reader = harness.reader("0", ReadFrom::Earliest);
    let producer = harness.producer();
    let admin = harness
        .run(harness.resource.admin(&harness.runtime))
        .unwrap();
    let before = harness.run(admin.describe()).unwrap();
    harness.run(admin.delete()).unwrap();
    assert!(
        harness
            .run(admin.delete())
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
    assert!(
        harness
            .run(admin.describe())
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
    assert!(
        harness
            .run(reader.read(1))
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
    let outcomes = harness
        .run(producer.send_batch(&[event("a", 3)]))
        .into_outcomes();
    assert!(outcomes[0].as_ref().unwrap_err().is(ErrorKind::NotFound));

    let never = resource(&harness.backend, &[("create", "never")]);
    assert!(
        harness
            .run(never.producer(&harness.runtime))
            .err()
            .unwrap()
            .is(ErrorKind::NotFound)
    );
    harness.simulation.advance(SECOND);
    assert!(
        harness
            .run(admin.create(&aqueduct_core::StreamSpec::with_partitions(3)))
            .unwrap()
    );
    assert!(
        !harness
            .run(admin.create(&aqueduct_core::StreamSpec::default()))
            .unwrap()
    );
    let after = harness.run(admin.describe()).unwrap();
    assert_eq!(after.partitions.len(), 3);
    assert!(after.created > before.created);
    assert!(
        harness
            .run(reader.read(1))
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
    harness.run(never.producer(&harness.runtime)).unwrap();
}

#[test]
fn a_closed_producer_says_so() {
    let harness = Harness::new(&[]);
    let producer = harness.producer();
    harness.run(producer.close()).unwrap();
    harness.run(producer.close()).unwrap();
    let outcomes = harness
        .run(producer.send_batch(&[event("a", 1)]))
        .into_outcomes();
    assert!(outcomes[0].as_ref().unwrap_err().is(ErrorKind::Closed));
    assert!(harness.send(&[event("a", 1)])[0].is_ok());
}

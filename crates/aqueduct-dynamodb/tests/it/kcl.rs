//! Aqueduct continues from KCL's checkpoints.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backend as _, Checkpoint, Event, GroupRecord, Options, PartitionId, PartitionState, Position,
    ReadFrom, ResolvedStart, Source, Start, StreamSpec, Timestamp, Url,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_memory::MemoryBackend;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::support::{Place, SEQUENCE, SHARD, item, kcl2, kcl3, key, n, s, ss, swapped, taken};

#[tokio::test]
async fn every_checkpoint_of_kcl_is_understood() {
    let place = Place::new().await;
    let at = "2026-01-31T12:00:00Z";
    let store = place.leases(&[("kcl_at_timestamp", at)]).await;
    let began: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
    let start = ResolvedStart {
        at: began,
        partitions: Vec::new(),
    };
    let record = GroupRecord::new(start, 0, began);
    store.create_group(&key(), record).await.unwrap();

    let position: Position = SEQUENCE.parse().unwrap();
    let time = at.parse().unwrap();
    let expected = [
        ("TRIM_HORIZON", 0, Checkpoint::Start(ReadFrom::Earliest)),
        ("LATEST", 0, Checkpoint::Start(ReadFrom::Time(began))),
        ("AT_TIMESTAMP", 0, Checkpoint::Start(ReadFrom::Time(time))),
        ("SHARD_END", 0, Checkpoint::End),
        (SEQUENCE, 0, Checkpoint::At(position)),
        (SEQUENCE, 7, Checkpoint::At(position.with_sub(7))),
    ];
    for (at, (checkpoint, sub, _)) in expected.iter().enumerate() {
        let partition = format!("shardId-{at:012}");
        place.put(kcl2(&partition, None, checkpoint, *sub)).await;
    }
    let listed = store.list(&key(), &[]).await.unwrap();
    assert_eq!(listed.len(), expected.len());
    for (lease, (theirs, sub, checkpoint)) in listed.iter().zip(expected) {
        assert_eq!(lease.checkpoint, checkpoint, "{theirs} {sub}");
        assert_eq!((lease.generation, lease.counter), (1, 17));
        assert_eq!(lease.range.unwrap().last, u128::MAX);
        let read = store.read(&key(), &lease.partition).await.unwrap();
        assert_eq!(read.as_ref(), Some(lease));
        // Taking the lease preserves the checkpoint as read, for any sentinel of KCL.
        let owned = store.swap(&key(), lease, taken(lease, "me")).await.unwrap();
        assert_eq!(swapped(owned).checkpoint, checkpoint);
        let read = store.read(&key(), &lease.partition).await.unwrap();
        assert_eq!(read.unwrap().checkpoint, checkpoint);
    }
}

#[tokio::test]
async fn a_time_that_only_kcl_knows_is_read_from_the_oldest() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    place.put(kcl2(SHARD, None, "AT_TIMESTAMP", 0)).await;
    let lease = store.read(&key(), &PartitionId::new(SHARD)).await.unwrap();
    let oldest = Checkpoint::Start(ReadFrom::Earliest);
    assert_eq!(lease.unwrap().checkpoint, oldest);
}

#[tokio::test]
async fn a_row_of_kcl_3_is_taken_and_what_is_not_ours_stays() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let mut row = kcl3(SHARD, Some("next-worker"), SEQUENCE, 2);
    row.insert("checkpointOwner".to_owned(), s("last-worker"));
    row.insert("pendingCheckpoint".to_owned(), s(&format!("{SEQUENCE}9")));
    row.insert("pendingCheckpointSubSequenceNumber".to_owned(), n(0));
    let state = AttributeValue::B(vec![1, 2, 3].into());
    row.insert("pendingCheckpointState".to_owned(), state);
    row.insert("parentShardId".to_owned(), ss(&["p-2", "p-1"]));
    row.insert("ofSomebodyElse".to_owned(), AttributeValue::Bool(true));
    place.put(row).await;

    let lease = &store.list(&key(), &[]).await.unwrap()[0];
    let owner = lease.owner.as_ref().unwrap();
    assert_eq!(owner.as_str(), "last-worker", "who may still checkpoint");
    let position: Position = SEQUENCE.parse().unwrap();
    assert_eq!(lease.checkpoint, Checkpoint::At(position.with_sub(2)));
    assert_eq!(lease.parents, ["p-1", "p-2"].map(PartitionId::new));

    let owned = store.swap(&key(), lease, taken(lease, "me")).await.unwrap();
    let owned = swapped(owned);
    assert_eq!((owned.generation, owned.counter), (2, 18));
    let row = place.row(SHARD).await.unwrap();
    for gone in [
        "checkpointOwner",
        "pendingCheckpoint",
        "pendingCheckpointSubSequenceNumber",
        "pendingCheckpointState",
    ] {
        assert!(!row.contains_key(gone), "{gone}");
    }
    for (name, value) in [
        ("leaseOwner", s("me")),
        ("leaseCounter", n(18)),
        ("checkpoint", s(SEQUENCE)),
        ("checkpointSubSequenceNumber", n(2)),
        ("ownerSwitchesSinceCheckpoint", n(4)),
        ("throughputKBps", n("12.5")),
        ("entityType", s("LEASE")),
        ("ofSomebodyElse", AttributeValue::Bool(true)),
    ] {
        assert_eq!(row.get(name), Some(&value), "{name}");
    }
}

#[tokio::test]
async fn what_kcl_did_in_between_counts() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let key = key();
    let lease = store.create(&key, crate::support::fresh(SHARD));
    let lease = lease.await.unwrap();
    let mut next = taken(&lease, "me");
    next.checkpoint = Checkpoint::At(Position::new(5));
    next.handed_out = Some(Position::new(8));
    next.unclean = 1;
    let swap = store.swap(&key, &lease, next).await.unwrap();
    let mine = swapped(swap);
    let update = place.client.update_item().table_name(&place.table);
    let update = update
        .key("leaseKey", s(SHARD))
        .update_expression("SET leaseCounter = :c, checkpoint = :p, leaseOwner = :o")
        .expression_attribute_values(":c", n(mine.counter + 3))
        .expression_attribute_values(":p", s("900"))
        .expression_attribute_values(":o", s("kcl"));
    update.send().await.unwrap();

    let mut renewed = taken(&mine, "me");
    renewed.generation = mine.generation;
    let commit = store.commit(&key, &mine, renewed);
    let aqueduct_core::Swap::Lost(Some(found)) = commit.await.unwrap() else {
        panic!("a write over KCL's went through");
    };
    assert_eq!(found.checkpoint, Checkpoint::At(Position::new(900)));
    assert_eq!(found.owner.as_ref().unwrap().as_str(), "kcl");
    assert_eq!((found.handed_out, found.unclean, found.nonce), (None, 0, 0));
    assert_eq!(found.generation, mine.generation, "it only ever rises");
    let back = store.swap(&key, &found, taken(&found, "me"));
    assert_eq!(swapped(back.await.unwrap()).generation, 2);
}

#[tokio::test]
async fn rows_of_several_streams_are_kept_as_kcl_keeps_them() {
    let place = Place::new().await;
    let ids = "123456789012:orders:1700000000, 123456789012:returns:1700000001";
    let options = [("layout", "kcl-multi"), ("stream_ids", ids)];
    let store = place.leases(&options).await;
    for (stream, shard, checkpoint) in [
        ("orders:1700000000", SHARD, "10"),
        ("returns:1700000001", SHARD, "20"),
    ] {
        let id = format!("123456789012:{stream}");
        let mut row = kcl3(&format!("{id}:{shard}"), None, checkpoint, 0);
        row.insert("streamName".to_owned(), s(&id));
        row.insert("shardId".to_owned(), s(shard));
        place.put(row).await;
    }
    let orders = store.list(&key(), &[]).await.unwrap();
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0].partition.as_str(), SHARD);
    assert_eq!(orders[0].checkpoint, Checkpoint::At(Position::new(10)));
    let second = crate::support::fresh("shardId-000000000001");
    store.create(&key(), second).await.unwrap();
    let row_key = "123456789012:orders:1700000000:shardId-000000000001";
    let row = place.row(row_key).await.unwrap();
    assert_eq!(row["streamName"], s("123456789012:orders:1700000000"));
    assert_eq!(row["shardId"], s("shardId-000000000001"));
    let unknown = aqueduct_core::GroupKey::new("billing", "unknown");
    let error = store.list(&unknown, &[]).await.unwrap_err().to_string();
    assert!(error.contains("ACCOUNT:unknown:CREATION_EPOCH"), "{error}");
}

/// End to end: KCL stopped, a group continues after its checkpoints, and leaves rows that KCL can
/// continue from.
#[tokio::test]
async fn a_group_goes_on_from_kcls_checkpoints_and_back() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let memory = MemoryBackend::new();
    let url = Url::parse("memory:").unwrap();
    let stream = memory.parse("orders", &url, Options::new("s")).unwrap();
    let admin = stream.admin(&place.runtime).await.unwrap();
    admin.create(&StreamSpec::with_partitions(1)).await.unwrap();
    let events: Vec<Event> = (0..10)
        .map(|at| Event::new("t").with_key("k").with_id(format!("e{at}")))
        .collect();
    let producer = stream.producer(&place.runtime).await.unwrap();
    let report = producer.send_batch(&events).await;
    let receipts: Vec<_> = report
        .into_outcomes()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let Source::Log(log) = stream.source(&place.runtime).await.unwrap() else {
        panic!("memory is a log");
    };
    let partition = log.partitions().await.unwrap()[0].id.clone();
    let position = |at: usize| receipts[at].position.unwrap();
    place
        .put(kcl2(
            partition.as_str(),
            None,
            &position(3).sequence_text(),
            0,
        ))
        .await;
    let others = [
        item(&[
            ("leaseKey", s("Leader")),
            ("entityType", s("LEADER")),
            ("x", n(1)),
        ]),
        item(&[
            ("leaseKey", s("worker-1")),
            ("entityType", s("WORKER_METRIC_STATS")),
        ]),
        item(&[
            ("leaseKey", s("Migration3.0")),
            ("entityType", s("CLIENT_VERSION_MIGRATION")),
        ]),
    ];
    for other in &others {
        place.put(other.clone()).await;
    }

    let mut options = GroupOptions::new("billing".into());
    options.commit_interval = Duration::from_millis(100);
    options.commit_min = Duration::from_millis(20);
    let opened = Group::open(Arc::clone(&log), store.clone(), options, &place.runtime);
    let consumer = opened.await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 6 {
        for delivery in consumer.receive_batch(10).await.unwrap() {
            seen.push(delivery.event().id().to_string());
            delivery.ack().await.unwrap();
        }
    }
    assert_eq!(seen, ["e4", "e5", "e6", "e7", "e8", "e9"]);
    consumer.flush().await.unwrap();
    consumer.close().await.unwrap();

    let row = place.row(partition.as_str()).await.unwrap();
    assert_eq!(row["checkpoint"], s(&position(9).sequence_text()));
    assert_eq!(row["checkpointSubSequenceNumber"], n(0));
    assert_eq!(row["ownerSwitchesSinceCheckpoint"], n(0));
    assert!(!row.contains_key("leaseOwner"), "it is released");
    let counter: u64 = row["leaseCounter"].as_n().unwrap().parse().unwrap();
    assert!(counter > 17, "{counter}");
    for other in &others {
        let name = other["leaseKey"].as_s().unwrap();
        assert_eq!(place.row(name).await.as_ref(), Some(other), "{name}");
    }
}

/// KCL deletes the leases of shards that it read to the end, while Kinesis still lists them.
#[tokio::test]
async fn shards_that_kcl_finished_are_not_read_again() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let memory = MemoryBackend::new();
    let url = Url::parse("memory:").unwrap();
    let stream = memory.parse("orders", &url, Options::new("s")).unwrap();
    let admin = stream.admin(&place.runtime).await.unwrap();
    admin.create(&StreamSpec::with_partitions(1)).await.unwrap();
    let producer = stream.producer(&place.runtime).await.unwrap();
    let send = async |id: &str| {
        let event = [Event::new("t").with_key("k").with_id(id)];
        let report = producer.send_batch(&event).await;
        report.into_outcomes().remove(0).unwrap()
    };
    for (id, count) in [("of the grandparent", 2), ("of the parent", 4)] {
        send(id).await;
        admin.reshard(count).await.unwrap();
    }
    let read = send("read by KCL").await;
    send("behind its checkpoint").await;
    let Source::Log(log) = stream.source(&place.runtime).await.unwrap() else {
        panic!("memory is a log");
    };
    let partitions = log.partitions().await.unwrap();
    assert!(partitions.len() >= 7, "{partitions:?}");
    for partition in partitions
        .iter()
        .filter(|it| it.state == PartitionState::Open)
    {
        let checkpoint = match read.partition.as_ref() == Some(&partition.id) {
            true => read.position.unwrap().sequence_text(),
            false => "TRIM_HORIZON".to_owned(),
        };
        let mut row = kcl2(partition.id.as_str(), None, &checkpoint, 0);
        let parents: Vec<&str> = partition.parents.iter().map(PartitionId::as_str).collect();
        row.insert("parentShardId".to_owned(), ss(&parents));
        place.put(row).await;
    }
    let options = GroupOptions::new("billing".into());
    let opened = Group::open(log, store.clone(), options, &place.runtime);
    let consumer = opened.await.unwrap();
    let first = consumer.receive_batch(10).await.unwrap().remove(0);
    assert_eq!(first.event().id().to_string(), "behind its checkpoint");
    first.ack().await.unwrap();
    consumer.close().await.unwrap();
    assert_eq!(store.list(&key(), &[]).await.unwrap().len(), 4);
}

#[tokio::test]
async fn the_child_of_a_shard_of_kcls_begins_at_its_oldest_event() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    place.put(kcl2("theirs", None, SEQUENCE, 0)).await;
    store
        .create(&key(), crate::support::fresh("ours"))
        .await
        .unwrap();
    let late: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
    let late = Checkpoint::Start(ReadFrom::Time(late));
    let oldest = Checkpoint::Start(ReadFrom::Earliest);
    for (child, parent, start) in [("c1", "theirs", oldest), ("c2", "ours", late)] {
        let mut lease = crate::support::fresh(child);
        lease.checkpoint = late;
        lease.parents = vec![PartitionId::new(parent)];
        let made = store.create(&key(), lease).await.unwrap();
        assert_eq!(made.checkpoint, start, "the child of {parent}");
    }
}

/// The shards split twice after KCL stopped within the first: the closed ones in between were never
/// read, and the newest hold events from before the group began.
#[tokio::test]
async fn descendants_of_a_shard_of_kcls_are_read_whole_after_two_reshards() {
    let late: Timestamp = "2999-01-01T00:00:00Z".parse().unwrap();
    for start in [Start::Latest, Start::Time(late)] {
        let place = Place::new().await;
        let store = place.leases(&[("kcl_watch", "0s")]).await;
        let memory = MemoryBackend::new();
        let url = Url::parse("memory:").unwrap();
        let stream = memory.parse("orders", &url, Options::new("s")).unwrap();
        let admin = stream.admin(&place.runtime).await.unwrap();
        admin.create(&StreamSpec::with_partitions(1)).await.unwrap();
        let producer = stream.producer(&place.runtime).await.unwrap();
        let send = async |id: &str| {
            let event = [Event::new("t").with_key("k").with_id(id)];
            let report = producer.send_batch(&event).await;
            report.into_outcomes().remove(0).unwrap()
        };
        let read = send("read by KCL").await;
        send("a").await;
        admin.reshard(2).await.unwrap();
        send("b").await;
        admin.reshard(4).await.unwrap();
        send("c").await;
        let root = read.partition.as_ref().unwrap();
        let sequence = read.position.unwrap().sequence_text();
        place
            .put(kcl2(root.as_str(), Some("stopped"), &sequence, 0))
            .await;
        let Source::Log(log) = stream.source(&place.runtime).await.unwrap() else {
            panic!("memory is a log");
        };
        let mut options = GroupOptions::new("billing".into());
        options.start = start.clone();
        // How long the owner that KCL left in the row is waited for.
        options = options.with_lease_ttl(Duration::from_secs(2));
        let opened = Group::open(log, store, options, &place.runtime);
        let consumer = opened.await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let batch = consumer.receive_batch(10);
            let batch = tokio::time::timeout(Duration::from_secs(60), batch).await;
            for delivery in batch
                .unwrap_or_else(|_| panic!("{start:?}: only {seen:?}"))
                .unwrap()
            {
                seen.push(delivery.event().id().to_string());
                delivery.ack().await.unwrap();
            }
        }
        assert_eq!(seen, ["a", "b", "c"], "{start:?}");
        consumer.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_merged_child_names_both_parents() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    for parent in ["left", "right"] {
        let made = store
            .create(&key(), crate::support::fresh(parent))
            .await
            .unwrap();
        let owned = taken(&made, "me");
        let owned = swapped(store.swap(&key(), &made, owned).await.unwrap());
        let mut ended = owned.clone();
        ended.counter += 1;
        ended.nonce += 1;
        ended.checkpoint = Checkpoint::End;
        ended.children = vec![PartitionId::new("merged")];
        swapped(store.commit(&key(), &owned, ended).await.unwrap());
    }
    let merged = store.read(&key(), &PartitionId::new("merged")).await;
    let mut parents = merged.unwrap().unwrap().parents;
    parents.sort();
    assert_eq!(parents, ["left", "right"].map(PartitionId::new));
}

//! Rows that Aqueduct writes, attribute by attribute, as KCL reads them.

use aqueduct_core::{
    Checkpoint, HashRange, OwnerId, PartitionId, Position, ReadFrom, StoredAttempts, Timestamp,
};

use crate::support::{Item, Place, SEQUENCE, SHARD, fresh, key, n, s, ss, swapped, taken};

#[track_caller]
fn has(row: &Item, expected: &[(&str, aws_sdk_dynamodb::types::AttributeValue)]) {
    for (name, value) in expected {
        assert_eq!(row.get(*name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_lease_is_written_as_kcl_writes_it() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let mut lease = fresh(SHARD);
    lease.parents = vec![PartitionId::new("p-1"), PartitionId::new("p-2")];
    lease.range = Some(HashRange {
        first: u128::MAX / 2 + 1,
        last: u128::MAX,
    });
    let made = store.create(&key(), lease).await.unwrap();
    let row = place.row(SHARD).await.unwrap();
    has(
        &row,
        &[
            ("leaseKey", s(SHARD)),
            ("leaseCounter", n(0)),
            ("ownerSwitchesSinceCheckpoint", n(0)),
            ("checkpoint", s("TRIM_HORIZON")),
            ("checkpointSubSequenceNumber", n(0)),
            ("parentShardId", ss(&["p-1", "p-2"])),
            (
                "startingHashKey",
                s("170141183460469231731687303715884105728"),
            ),
            (
                "endingHashKey",
                s("340282366920938463463374607431768211455"),
            ),
            ("entityType", s("LEASE")),
        ],
    );
    let kcl = row.keys().filter(|name| !name.starts_with("aqueduct_"));
    assert_eq!(
        kcl.count(),
        9,
        "KCL's attributes are all there are: {row:?}"
    );

    let mut owned = swapped(store.swap(&key(), &made, taken(&made, "a")).await.unwrap());
    has(
        &place.row(SHARD).await.unwrap(),
        &[
            ("leaseOwner", s("a")),
            ("leaseCounter", n(1)),
            // Taking a lease without an owner does not count as a switch.
            ("ownerSwitchesSinceCheckpoint", n(0)),
        ],
    );
    for (by, switches) in [("b", 1), ("c", 2)] {
        let next = taken(&owned, by);
        owned = swapped(store.swap(&key(), &owned, next).await.unwrap());
        let row = place.row(SHARD).await.unwrap();
        has(&row, &[("ownerSwitchesSinceCheckpoint", n(switches))]);
    }

    let position: Position = SEQUENCE.parse().unwrap();
    let mut next = owned.clone();
    next.counter += 1;
    next.checkpoint = Checkpoint::At(position.with_sub(4));
    next.handed_out = Some(position.with_sub(9));
    next.attempts = Some(StoredAttempts {
        position: position.with_sub(5),
        count: 2,
        started: true,
    });
    owned = swapped(store.commit(&key(), &owned, next).await.unwrap());
    has(
        &place.row(SHARD).await.unwrap(),
        &[
            ("leaseCounter", n(4)),
            ("checkpoint", s(SEQUENCE)),
            ("checkpointSubSequenceNumber", n(4)),
            ("ownerSwitchesSinceCheckpoint", n(0)),
            ("leaseOwner", s("c")),
            (
                "endingHashKey",
                s("340282366920938463463374607431768211455"),
            ),
        ],
    );

    let mut end = owned.clone();
    end.counter += 1;
    end.owner = None;
    end.checkpoint = Checkpoint::End;
    end.children = vec![PartitionId::new("c-2"), PartitionId::new("c-1")];
    swapped(store.swap(&key(), &owned, end).await.unwrap());
    let row = place.row(SHARD).await.unwrap();
    has(
        &row,
        &[("checkpoint", s("SHARD_END")), ("leaseCounter", n(5))],
    );
    assert!(!row.contains_key("leaseOwner"));
    let mut children = row["childShardIds"].as_ss().unwrap().clone();
    children.sort();
    assert_eq!(children, ["c-1", "c-2"]);
    for child in ["c-1", "c-2"] {
        let row = place.row(child).await.expect("KCL expects the child's row");
        has(
            &row,
            &[
                ("parentShardId", ss(&[SHARD])),
                ("checkpoint", s("TRIM_HORIZON")),
            ],
        );
    }
}

#[tokio::test]
async fn a_start_that_kcl_cannot_express_loses_nothing_there() {
    let place = Place::new().await;
    let at = "2026-01-31T12:00:00Z";
    let store = place.leases(&[("kcl_at_timestamp", at)]).await;
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let position: Position = SEQUENCE.parse().unwrap();
    for (at, (start, checkpoint, sub)) in [
        (ReadFrom::Time(time(at)), "AT_TIMESTAMP", 0),
        (
            ReadFrom::Time(time("2025-01-01T00:00:00Z")),
            "TRIM_HORIZON",
            0,
        ),
        (ReadFrom::After(position), SEQUENCE, 0),
        (ReadFrom::At(position.with_sub(3)), SEQUENCE, 2),
        // Sub-sequence -1 lies before every record, including the first one.
        (ReadFrom::At(position), SEQUENCE, -1),
    ]
    .into_iter()
    .enumerate()
    {
        let mut lease = fresh(&format!("shardId-{at}"));
        lease.checkpoint = Checkpoint::Start(start);
        let made = store.create(&key(), lease.clone()).await.unwrap();
        assert_eq!(made.checkpoint, lease.checkpoint);
        let row = place.row(lease.partition.as_str()).await.unwrap();
        has(
            &row,
            &[
                ("checkpoint", s(checkpoint)),
                ("checkpointSubSequenceNumber", n(sub)),
            ],
        );
    }
}

#[tokio::test]
async fn a_request_changes_nothing_that_kcl_or_the_owner_compares() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let made = store.create(&key(), fresh(SHARD)).await.unwrap();
    let mine = swapped(store.swap(&key(), &made, taken(&made, "me")).await.unwrap());
    let before = place.row(SHARD).await.unwrap();
    let guest = OwnerId::new("guest");
    store.request(&key(), &mine, &guest).await.unwrap();
    let mut after = place.row(SHARD).await.unwrap();
    assert_eq!(after.remove("aqueduct_wanted_by"), Some(s("guest")));
    assert_eq!(after, before);
}

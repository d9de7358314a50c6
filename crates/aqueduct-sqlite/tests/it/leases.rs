use aqueduct_core::{
    Checkpoint, ErrorKind, GroupKey, GroupRecord, HashRange, Lease, LeaseStore, OwnerId, Position,
    ReadFrom, ResolvedStart, StoredAttempts, Swap, Timestamp,
};

use crate::support::*;

fn key() -> GroupKey {
    GroupKey::new("billing", "orders")
}

fn full() -> Lease {
    let mut lease = Lease::new("7".into(), Checkpoint::At(Position::new(5)));
    lease.owner = Some("one".into());
    lease.generation = u64::MAX;
    lease.counter = 3;
    lease.handed_out = Some("123456789012345678901234567890.4".parse().unwrap());
    lease.attempts = Some(StoredAttempts {
        position: Position::new(6),
        count: 2,
        started: true,
    });
    lease.unclean = 1;
    lease.parents = vec!["1".into(), "2".into()];
    lease.children = vec!["9".into()];
    lease.range = Some(HashRange {
        first: 1,
        last: u128::MAX,
    });
    lease.nonce = u64::MAX - 1;
    lease
}

async fn leases(place: &Place) -> std::sync::Arc<dyn LeaseStore> {
    place
        .resource("orders", &[])
        .leases(&place.runtime)
        .await
        .unwrap()
}

fn swapped(swap: Swap) -> Lease {
    match swap {
        Swap::Swapped(lease) => lease,
        Swap::Lost(row) => panic!("lost to {row:?}"),
    }
}

#[tokio::test]
async fn every_field_of_a_lease_is_kept() {
    let place = Place::new();
    let store = leases(&place).await;
    let stored = store.create(&key(), full()).await.unwrap();
    assert!(!stored.version.is_empty());
    let mut expected = full();
    expected.version = stored.version.clone();
    assert_eq!(stored, expected);
    assert_eq!(
        store.read(&key(), &"7".into()).await.unwrap(),
        Some(expected.clone())
    );
    assert_eq!(store.list(&key(), &[]).await.unwrap(), [expected]);
    for checkpoint in [
        Checkpoint::End,
        Checkpoint::Start(ReadFrom::Earliest),
        Checkpoint::Start(ReadFrom::Time(Timestamp::from_millis(1))),
    ] {
        let mut lease = Lease::new(checkpoint.to_string().into(), checkpoint);
        lease = store.create(&key(), lease).await.unwrap();
        assert_eq!(
            store.read(&key(), &lease.partition).await.unwrap(),
            Some(lease)
        );
    }
    assert!(
        store
            .list(&GroupKey::new("other", "orders"), &[])
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_swap_compares_and_tells_who_was_first() {
    let place = Place::new();
    let store = leases(&place).await;
    let free = store
        .create(
            &key(),
            Lease::new("0".into(), Checkpoint::Start(ReadFrom::Earliest)),
        )
        .await
        .unwrap();
    let mut mine = free.clone();
    mine.owner = Some("one".into());
    mine.generation = 1;
    let mine = swapped(store.swap(&key(), &free, mine).await.unwrap());
    assert_ne!(mine.version, free.version);
    let mut late = free.clone();
    late.owner = Some("two".into());
    assert_eq!(
        store.swap(&key(), &free, late).await.unwrap(),
        Swap::Lost(Some(mine.clone()))
    );
    assert_eq!(store.create(&key(), free.clone()).await.unwrap(), mine);
    let gone = Lease::new("1".into(), Checkpoint::End);
    assert_eq!(
        store.commit(&key(), &gone, gone.clone()).await.unwrap(),
        Swap::Lost(None)
    );
    assert_eq!(
        store.delete(&key(), &free).await.unwrap(),
        Swap::Lost(Some(mine.clone()))
    );
    swapped(store.delete(&key(), &mine).await.unwrap());
    assert_eq!(store.delete(&key(), &mine).await.unwrap(), Swap::Lost(None));
}

#[tokio::test]
async fn a_request_never_makes_the_owners_write_fail() {
    let place = Place::new();
    let store = leases(&place).await;
    let mut lease = Lease::new("0".into(), Checkpoint::At(Position::new(1)));
    lease.owner = Some("one".into());
    let mine = store.create(&key(), lease).await.unwrap();
    let (two, three) = (OwnerId::new("two"), OwnerId::new("three"));
    let asked = store.request(&key(), &mine, &two).await.unwrap().unwrap();
    assert_eq!(asked.wanted_by, Some(two.clone()));
    let again = store.request(&key(), &mine, &three).await.unwrap().unwrap();
    assert_eq!(again.wanted_by, Some(two.clone()), "who asked first stays");

    let mut renewed = mine.clone();
    renewed.counter += 1;
    renewed.checkpoint = Checkpoint::At(Position::new(2));
    let renewed = swapped(store.commit(&key(), &mine, renewed).await.unwrap());
    assert_eq!(
        renewed.wanted_by,
        Some(two.clone()),
        "a request that came meanwhile is kept"
    );

    let mut handed_off = renewed.clone();
    handed_off.owner = Some(two);
    handed_off.generation += 1;
    handed_off.wanted_by = None;
    let theirs = swapped(store.swap(&key(), &renewed, handed_off).await.unwrap());
    assert_eq!(theirs.wanted_by, None);
    let stale = store.request(&key(), &mine, &three).await.unwrap().unwrap();
    assert_eq!(stale.wanted_by, None, "the generation moved on");
}

#[tokio::test]
async fn a_group_begins_once_and_a_reset_raises_its_replay() {
    let place = Place::new();
    let store = leases(&place).await;
    let start = ResolvedStart {
        at: Timestamp::from_millis(1_000_001),
        partitions: vec![
            (
                "1".into(),
                Checkpoint::Start(ReadFrom::At(Position::new(4))),
            ),
            ("0".into(), Checkpoint::End),
        ],
    };
    let record = GroupRecord::new(start, 0, Timestamp::from_millis(17));
    let mut reset = record.clone();
    reset.replay = 1;
    let early = store
        .reset_group(&key(), 0, reset.clone())
        .await
        .unwrap_err();
    assert_eq!(early.kind(), ErrorKind::NotFound);
    assert_eq!(
        store.create_group(&key(), record.clone()).await.unwrap(),
        record
    );
    let mut second = record.clone();
    second.created = Timestamp::from_millis(99);
    assert_eq!(store.create_group(&key(), second).await.unwrap(), record);
    assert_eq!(store.group(&key()).await.unwrap(), Some(record.clone()));

    store
        .create(&key(), Lease::new("0".into(), Checkpoint::End))
        .await
        .unwrap();
    assert_eq!(
        store.reset_group(&key(), 5, reset.clone()).await.unwrap(),
        record
    );
    assert_eq!(store.list(&key(), &[]).await.unwrap().len(), 1);
    assert_eq!(
        store.reset_group(&key(), 0, reset.clone()).await.unwrap(),
        reset
    );
    assert!(store.list(&key(), &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_member_is_dead_once_its_store_is_gone_and_never_before() {
    let place = Place::new();
    let store = leases(&place).await;
    let other_process = Place {
        folder: tempfile::tempdir().unwrap(),
        ..Place::new()
    };
    let theirs = resource(&other_process.backend, &place.file(), "orders", &[]).unwrap();
    let theirs = theirs.leases(&place.runtime).await.unwrap();
    let owner = OwnerId::new("two");
    theirs.join(&owner).await.unwrap();
    let mut lease = Lease::new("0".into(), Checkpoint::End);
    lease.owner = Some(owner.clone());
    let stored = store.create(&key(), lease).await.unwrap();
    store.join(&"one".into()).await.unwrap();
    store.list(&key(), &[]).await.unwrap();
    assert!(!store.is_dead(&owner));
    assert!(!store.is_dead(&"one".into()));
    assert!(!store.is_dead(&"never seen".into()));
    drop(theirs);
    until("its lock is free", || async { store.is_dead(&owner) }).await;
    // A dead process is remembered while a lease names it, and forgotten afterwards.
    store.join(&"three".into()).await.unwrap();
    store.list(&key(), &[]).await.unwrap();
    assert!(store.is_dead(&owner));
    store.delete(&key(), &stored).await.unwrap();
    store.join(&"four".into()).await.unwrap();
    store.leave(&"four".into()).await.unwrap();
    store.list(&key(), &[]).await.unwrap();
    assert!(!store.is_dead(&owner));
    let locks = std::fs::read_dir(place.folder.path().join("events.db-locks")).unwrap();
    let processes = locks
        .flatten()
        .filter(|file| file.file_name().to_str().unwrap().starts_with("process-"));
    assert_eq!(processes.count(), 1, "the dead process's file is swept");
}
